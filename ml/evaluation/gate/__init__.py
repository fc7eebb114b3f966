"""Measuring a gate: images it must accept and images it must refuse."""
