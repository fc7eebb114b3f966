"""Runners: what computes a network's outputs, on each kind of machine."""
