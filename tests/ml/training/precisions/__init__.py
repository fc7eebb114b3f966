"""Tests of `ml.training.precisions`."""
