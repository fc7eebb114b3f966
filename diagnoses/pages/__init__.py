"""The web pages: worklist, patients, studies, images, uploads, models."""
