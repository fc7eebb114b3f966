"""The worklist page and its rows."""
