"""Fitting the gate of a model from training images."""
