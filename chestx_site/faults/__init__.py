"""The fault test of `make faults`: kills processes under load and counts results."""
