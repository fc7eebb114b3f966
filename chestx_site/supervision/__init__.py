"""Child processes: start, supervise, restart and stop them."""
