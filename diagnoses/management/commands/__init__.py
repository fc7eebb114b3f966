"""One module for each `manage.py` command about models and predictions."""
