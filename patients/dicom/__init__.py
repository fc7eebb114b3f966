"""Reading DICOM files.

Structure, header values, pixel data, hashes (PS3.3, PS3.5, PS3.10).
"""
