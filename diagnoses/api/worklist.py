"""REST: the worklist, with what the models in use found in each study."""

from typing import Any, ClassVar

from django.db import models
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.viewsets import GenericViewSet

from accounts.access import Action, may, signed_in_user
from accounts.api.audited import AuditedReadMixin
from diagnoses.api.serializers import PriorityField
from diagnoses.models import Prediction, WorklistEntry
from patients.models import Priority

_RESULT_FIELDS = (
    "flagged",
    "label",
    "models_flagging",
    "models_reading",
    "highest",
    "prediction",
    "instance",
    "image_number",
    "sentence",
)


class WorklistEntrySerializer(serializers.ModelSerializer):
    """One study: its status, and what the models in use found in it.

    The result is null for users and tokens that may not read results.
    """

    patient = serializers.UUIDField(source="study.patient_id")
    priority = PriorityField()
    instance = serializers.UUIDField(
        source="prediction.instance_id",
        allow_null=True,
        default=None,
        help_text="The image of the finding; it opens with the study.",
    )
    sentence = serializers.CharField(
        source="result_sentence", help_text="The result in the language of the reader."
    )

    class Meta:
        model = WorklistEntry
        fields = (
            "study",
            "patient",
            "priority",
            "received_at",
            "status",
            "images",
            "images_waiting",
            "images_unread",
            *_RESULT_FIELDS,
        )
        read_only_fields = fields

    def to_representation(self, entry: Any) -> dict[str, Any]:
        """Return the row, without the result if the caller may not read it."""
        shown = super().to_representation(entry)
        request = self.context["request"]
        if not may(request.user, Action.READ_RESULTS):
            shown |= dict.fromkeys(_RESULT_FIELDS)
        return shown


class WorklistFilter(filters.FilterSet):
    """Which studies to list."""

    flagged = filters.BooleanFilter(method="with_flagged")
    status = filters.MultipleChoiceFilter(choices=Prediction.Status.choices)
    priority = filters.TypedChoiceFilter(
        choices=[(p.name.lower(), p.label) for p in Priority],
        coerce=lambda word: Priority[word.upper()],
    )

    class Meta:
        model = WorklistEntry
        fields: ClassVar[list[str]] = []

    def with_flagged(
        self, queryset: models.QuerySet[WorklistEntry], name: str, flagged: bool
    ) -> models.QuerySet[WorklistEntry]:
        """Keep the flagged studies, or the others, for those who may read results."""
        request = self.request
        if not may(request.user, Action.READ_RESULTS):
            return queryset
        return queryset.filter(flagged=flagged)


class WorklistViewSet(
    AuditedReadMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """Studies in the order of the worklist: by priority, longest waiting first."""

    queryset = WorklistEntry.objects.none()
    serializer_class = WorklistEntrySerializer
    required_action = Action.READ_PATIENTS
    object_kind = "study"
    patient_path = "study__patient_id"
    filterset_class = WorklistFilter
    ordering_fields = ("priority", "received_at")
    ordering = ("-priority", "received_at")

    def get_queryset(self) -> models.QuerySet[WorklistEntry]:
        """Return the rows that the user may see."""
        return (
            WorklistEntry.objects.visible_to(signed_in_user(self.request))
            .select_related("study", "prediction")
            .defer("prediction__geometry", "prediction__provenance")
        )
