"""Measuring a gate on images that it must accept and images that it must refuse."""
