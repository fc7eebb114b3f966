"""The upload page and its rows."""
