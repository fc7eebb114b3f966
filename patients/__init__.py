"""The archive.

Patients, studies, series, instances and uploads; it knows nothing of models.
"""
