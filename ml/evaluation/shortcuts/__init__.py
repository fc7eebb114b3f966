"""Measuring whether a model uses parts of the image outside the lungs."""
