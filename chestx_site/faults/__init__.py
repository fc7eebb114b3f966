"""Fault trials: kill workers and servers under load, then count lost images.

`make faults` sends images through three sources while it kills processes.
docs/reliability.md explains the trial and its results.
"""
