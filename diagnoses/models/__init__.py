"""Database tables: model versions, thresholds, predictions, findings, heat maps."""

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
