"""Models, thresholds and runs, to read; what a model said is never edited."""

from diagnoses.admin import runs, versions

__all__ = ["runs", "versions"]
