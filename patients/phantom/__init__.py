"""Synthetic chest images for the demo and the tests."""
