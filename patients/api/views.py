"""Read the archive over REST: visible rows only, each read audited."""

from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from accounts.access import Action, require
from accounts.api.audited import AuditedReadMixin
from accounts.api.renderers import DicomRenderer, FileRenderer
from accounts.audit import AuditAction
from accounts.errors import NotFound
from patients.api.filters import (
    InstanceFilter,
    PatientFilter,
    SeriesFilter,
    StudyFilter,
)
from patients.api.serializers import (
    InstanceSerializer,
    InstanceWithHeaderSerializer,
    PatientSerializer,
    SeriesSerializer,
    StudySerializer,
)
from patients.models import Instance, Patient, Series, Study
from patients.output import open_dicom
from patients.storage import open_original


class ArchiveViewSet(
    AuditedReadMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """Base of the archive's views: read only, audited, limited to visible rows."""

    required_action = Action.READ_PATIENTS

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows that the caller may see."""
        rows: Any = super().get_queryset()
        return rows.visible_to(self.request.user)


class PatientViewSet(ArchiveViewSet):
    """Patients with at least one study that the caller may see."""

    queryset = Patient.objects.all()
    serializer_class = PatientSerializer
    object_kind = "patient"
    patient_path = "pk"
    filterset_class = PatientFilter
    ordering_fields = ("name_folded", "patient_id", "birth_date", "created_at")
    ordering = ("name_folded",)


class StudyViewSet(ArchiveViewSet):
    """Examinations."""

    queryset = Study.objects.prefetch_related("department", "discrepancies")
    serializer_class = StudySerializer
    object_kind = "study"
    patient_path = "patient_id"
    filterset_class = StudyFilter
    ordering_fields = ("received_at", "priority", "study_date", "accession_number")
    ordering: tuple[str, ...] = ("-received_at",)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter; studies of a range of dates are listed by date, as an index is."""
        if {"study_date_after", "study_date_before"} & set(self.request.query_params):
            self.ordering = ("-study_date",)
        return super().filter_queryset(queryset)


class SeriesViewSet(ArchiveViewSet):
    """Images of one study made in one way."""

    queryset = Series.objects.select_related("study")
    serializer_class = SeriesSerializer
    object_kind = "series"
    patient_path = "study__patient_id"
    filterset_class = SeriesFilter
    ordering_fields = ("series_number", "modality", "series_instance_uid")
    ordering = ("series_instance_uid",)


class InstanceViewSet(ArchiveViewSet):
    """Stored DICOM objects; one alone comes with its header."""

    queryset = Instance.objects.select_related("series__study")
    serializer_class = InstanceSerializer
    object_kind = "instance"
    patient_path = "series__study__patient_id"
    filterset_class = InstanceFilter
    ordering_fields = ("received_at", "instance_number", "sop_instance_uid")
    ordering = ("-received_at",)

    def get_queryset(self) -> QuerySet[Instance]:
        """Return the visible objects; lists leave out the headers, up to 1 MB each."""
        visible = super().get_queryset()
        if self.action in ("retrieve", "file", "original"):
            return visible.select_related("series__study__patient")
        return visible.defer("header")

    @extend_schema(responses={(200, "application/dicom"): OpenApiTypes.BINARY})
    @action(detail=True, renderer_classes=[DicomRenderer, JSONRenderer])
    def file(self, request: Request, pk: str | None = None) -> FileResponse:
        """Return the DICOM file, with the patient as in the record."""
        require(request, Action.READ_IMAGES)
        instance = self.get_object()
        self.record_read(AuditAction.EXPORT, [instance], object_uuid=instance.pk)
        return FileResponse(
            open_dicom(instance),
            as_attachment=True,
            filename=f"{instance.sop_instance_uid}.dcm",
            content_type="application/dicom",
        )

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, renderer_classes=[FileRenderer, JSONRenderer])
    def original(self, request: Request, pk: str | None = None) -> FileResponse:
        """Return the picture as it was sent; 404 if the DICOM file holds its bytes."""
        require(request, Action.READ_IMAGES)
        instance = self.get_object()
        if not instance.original_sha256:
            raise NotFound(_("The picture as sent is not kept apart from the object."))
        self.record_read(AuditAction.EXPORT, [instance], object_uuid=instance.pk)
        return FileResponse(
            open_original(instance),
            as_attachment=True,
            filename=instance.sop_instance_uid,
            content_type="application/octet-stream",
        )

    def get_serializer_class(self) -> type[BaseSerializer]:
        """Return the serializer of one object, or of a list."""
        if self.action == "retrieve":
            return InstanceWithHeaderSerializer
        return self.serializer_class
