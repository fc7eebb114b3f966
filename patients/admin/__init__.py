"""The archive in the admin: look up rows, resolve conflicts, assign patients."""

from patients.admin import archive, persons, studies, uploads

__all__ = ["archive", "persons", "studies", "uploads"]
