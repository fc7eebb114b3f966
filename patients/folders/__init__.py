"""Folders of images to import."""
