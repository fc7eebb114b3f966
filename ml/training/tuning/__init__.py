"""Hyperparameter search for a recipe."""
