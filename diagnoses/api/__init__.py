"""The REST API of uploads, predictions, models and the worklist."""

from rest_framework.viewsets import GenericViewSet

from diagnoses.api.models import ModelViewSet
from diagnoses.api.predictions import PredictionViewSet
from diagnoses.api.uploads import UploadViewSet
from diagnoses.api.worklist import WorklistViewSet

routes: list[tuple[str, type[GenericViewSet], str]] = [
    ("uploads", UploadViewSet, "upload"),
    ("predictions", PredictionViewSet, "prediction"),
    ("models", ModelViewSet, "model"),
    ("worklist", WorklistViewSet, "worklist-entry"),
]
