"""Incoming files: formats, structure checks of pictures, temporary files."""
