"""Filters for templates about who may do what."""
