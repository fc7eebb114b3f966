"""Shortened trainings that are measured on other patients or other sources."""
