"""Measuring heat maps: pointing, insertion and deletion, randomisation."""
