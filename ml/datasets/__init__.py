"""Data sets in their published layouts, read as rows with labels and splits."""
