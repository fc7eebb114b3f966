"""Data sets in their published layouts, as rows with labels, patients and splits."""
