"""The processes of the demo and of development.

Supervisor, child processes, watchdog.
"""
