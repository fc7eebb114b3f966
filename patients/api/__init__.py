"""The REST interface of the archive; `chestx_site.api` adds its routes."""

from rest_framework.viewsets import GenericViewSet

from patients.api.views import (
    InstanceViewSet,
    PatientViewSet,
    SeriesViewSet,
    StudyViewSet,
)

routes: list[tuple[str, type[GenericViewSet], str]] = [
    ("patients", PatientViewSet, "patient"),
    ("studies", StudyViewSet, "study"),
    ("series", SeriesViewSet, "series"),
    ("instances", InstanceViewSet, "instance"),
]
