"""The admin pages of model versions and predictions, read-only for results."""

from diagnoses.admin import runs, versions

__all__ = ["runs", "versions"]
