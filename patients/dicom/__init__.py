"""Reading DICOM files: structure, header values, pixel data, hashes."""
