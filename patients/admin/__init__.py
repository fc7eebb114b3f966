"""The admin pages of the archive: search, conflicts, assignments."""

from patients.admin import archive, persons, studies, uploads

__all__ = ["archive", "persons", "studies", "uploads"]
