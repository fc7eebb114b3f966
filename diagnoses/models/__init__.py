"""What models said about images: versions, thresholds, runs, findings, heat maps.

A Prediction row is one run of one model version on one instance, and while it is
queued it is the outbox. Finished rows are never updated: a trigger refuses.
"""

from diagnoses.models.prediction import (
    Finding,
    FindingQuerySet,
    HeatMap,
    Prediction,
    PredictionQuerySet,
)
from diagnoses.models.version import (
    ModelVersion,
    OperatingPoint,
    SiteAcceptance,
    StateChange,
)
from diagnoses.models.worklist_entry import WorklistEntry, WorklistEntryQuerySet

__all__ = [
    "Finding",
    "FindingQuerySet",
    "HeatMap",
    "ModelVersion",
    "OperatingPoint",
    "Prediction",
    "PredictionQuerySet",
    "SiteAcceptance",
    "StateChange",
    "WorklistEntry",
    "WorklistEntryQuerySet",
]
