"""Measuring models on labelled images: scores, metrics, comparisons, reports."""
