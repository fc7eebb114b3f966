"""The archive in the admin: to look things up, and to decide what only a person can."""

from patients.admin import archive, persons, studies, uploads

__all__ = ["archive", "persons", "studies", "uploads"]
