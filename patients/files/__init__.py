"""Files as they arrive: upload handler, temporary files, JPEG and TIFF structure."""
