"""A trial with real processes: what is lost when workers and servers are killed.

`make faults` sends images through three sources while it breaks things, and then
counts. docs/reliability.md says what it shows and what it showed.
"""
