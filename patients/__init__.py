"""The image archive: patients, studies, series, instances, uploads; no models."""
