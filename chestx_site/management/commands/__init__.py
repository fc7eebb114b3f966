"""One module for each `manage.py` command that runs the site."""
