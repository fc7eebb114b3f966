"""Processes of the demo and of development: supervisor, children, watchdog."""
