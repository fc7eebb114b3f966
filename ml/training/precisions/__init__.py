"""Precisions beside float32: the graph in INT8, and what each changes."""
