"""REST: predictions, their heat maps, and running failed ones again."""

from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.http import HttpResponse
from django.utils.translation import gettext
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.access import Action, may, require, signed_in_user
from accounts.api.audited import AuditedReadMixin
from accounts.api.filters import KeyFilterSet
from accounts.api.renderers import PngRenderer
from accounts.audit import AuditAction, AuditSource
from accounts.errors import InvalidInput
from diagnoses.api.serializers import NO_PATIENT, PredictionSerializer
from diagnoses.heat_maps import (
    LOGIT,
    SIZES,
    finding_to_show,
    heat_maps_of_run,
    overlay_picture,
)
from diagnoses.messages import FIELD_PROBLEM
from diagnoses.models import ModelVersion, Prediction
from diagnoses.worker.retries import retry_for
from ml.labels import NOTHING_FOUND_LABELS
from patients.models import Priority

_SIZES = {str(size): size for size in SIZES}


class PredictionFilter(KeyFilterSet):
    """Which predictions to list."""

    model = filters.CharFilter(field_name="model_version__name", method="of_versions")
    version = filters.CharFilter(
        field_name="model_version__version", method="of_versions"
    )
    study = filters.UUIDFilter(
        field_name="instance__series__study", method="of_patient"
    )
    patient = filters.UUIDFilter(
        field_name="instance__series__study__patient", method="of_patient"
    )
    instance = filters.UUIDFilter(field_name="instance")
    status = filters.MultipleChoiceFilter(choices=Prediction.Status.choices)
    priority = filters.TypedChoiceFilter(
        choices=[(p.name.lower(), p.label) for p in Priority],
        coerce=lambda word: Priority[word.upper()],
    )
    positive = filters.CharFilter(
        method="with_positive", help_text="A label that the run found positive."
    )
    flagged = filters.CharFilter(
        method="with_flagged", help_text="A label that the run flagged."
    )
    queued_after = filters.IsoDateTimeFilter(field_name="queued_at", lookup_expr="gte")
    queued_before = filters.IsoDateTimeFilter(field_name="queued_at", lookup_expr="lt")

    class Meta:
        model = Prediction
        fields = ("reason_code", "shadow")

    def of_patient(
        self, queryset: models.QuerySet[Prediction], path: str, key: UUID
    ) -> models.QuerySet[Prediction]:
        """Keep the runs of a study or patient, for callers who may read patients."""
        if not may(self.request.user, Action.READ_PATIENTS):
            return queryset.none()
        return queryset.filter(**{path: key})

    def of_versions(
        self, queryset: models.QuerySet[Prediction], path: str, text: str
    ) -> models.QuerySet[Prediction]:
        """Keep the runs of the versions with this name or number."""
        field = path.removeprefix("model_version__")
        versions = ModelVersion.objects.filter(**{field: text})
        return queryset.filter(model_version__in=list(versions))

    def with_positive(
        self, queryset: models.QuerySet[Prediction], name: str, label: str
    ) -> models.QuerySet[Prediction]:
        """Keep the runs with a positive finding of this label."""
        return queryset.filter(
            pk__in=Prediction.objects.filter(
                findings__label=label, findings__positive=True
            ).values("pk")
        )

    def with_flagged(
        self, queryset: models.QuerySet[Prediction], name: str, label: str
    ) -> models.QuerySet[Prediction]:
        """Keep the runs with a flagged finding of this label."""
        if label in NOTHING_FOUND_LABELS:
            return queryset.none()
        claiming = ModelVersion.objects.filter(claimed_labels__contains=[label])
        return self.with_positive(queryset, name, label).filter(
            model_version__in=list(claiming)
        )


class PredictionViewSet(
    AuditedReadMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """Runs of models on images, with their findings."""

    queryset = Prediction.objects.none()
    serializer_class = PredictionSerializer
    required_action = Action.READ_RESULTS
    required_actions: ClassVar = {
        "retry": Action.RETRY_PREDICTION,
        "heatmap": Action.READ_IMAGES,
    }
    object_kind = "prediction"
    patient_path = "instance__series__study__patient_id"
    filterset_class = PredictionFilter
    ordering_fields = ("queued_at", "finished_at", "priority", "status")
    ordering = ("-queued_at",)

    def get_queryset(self) -> models.QuerySet[Prediction]:
        """Return the runs that the user may see, without their grids."""
        return (
            Prediction.objects.visible_to(self.request.user)
            .select_related("model_version", "instance__series__study")
            .defer("geometry", "model_version__card", "instance__header")
            .prefetch_related("findings", "instance__series__study__discrepancies")
        )

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return one run. While it waits, it names no patient and records no event."""
        prediction = self.get_object()
        if not prediction.finished:
            data = self.get_serializer(prediction).data
            return Response({**data, **NO_PATIENT})
        self.record_read(AuditAction.VIEW, [prediction], object_uuid=prediction.pk)
        return Response(self.get_serializer(prediction).data)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "label", str, description="Default: the label with the highest value."
            ),
            OpenApiParameter(
                "size",
                {"type": "integer", "minimum": SIZES.start, "maximum": SIZES[-1]},
                description="Longest side in pixels. Default: that of the image, at "
                f"most {SIZES[-1]}.",
            ),
            OpenApiParameter(
                "cells",
                bool,
                description="Draw the flat cells of the grid. Default: interpolated.",
            ),
        ],
        responses={(200, "image/png"): OpenApiTypes.BINARY},
    )
    @action(detail=True, renderer_classes=[PngRenderer, JSONRenderer])
    def heatmap(self, request: Request, pk: str | None = None) -> HttpResponse:
        """Return the image with the heat map of one label over it, as a PNG.

        A cell shows what it adds to the logit of the label. All labels of a run share
        one colour scale. Headers of the answer state its unit (ChestX-Heat-Map-Unit;
        "relative" for ensembles of former versions), the value below which it is
        transparent (ChestX-Heat-Map-Floor) and the brightest one
        (ChestX-Heat-Map-Strongest). A probability below 0.005 paints nothing.
        """
        require(request, Action.READ_RESULTS)
        prediction = self.get_object()
        size = _size(request.query_params.get("size"))
        finding = finding_to_show(prediction, request.query_params.get("label", ""))
        self.record_read(
            AuditAction.VIEW,
            [prediction],
            object_uuid=prediction.pk,
            object_kind="heat_map",
            detail={"label": finding.label},
        )
        cells = request.query_params.get("cells", "").lower() in ("1", "true")
        picture = overlay_picture(finding, size=size, cells=cells)
        maps = heat_maps_of_run(prediction.pk)
        headers = {
            "ChestX-Heat-Map-Unit": LOGIT if maps.in_logits else "relative",
            "ChestX-Heat-Map-Floor": f"{maps.scale.floor:.4g}",
            "ChestX-Heat-Map-Strongest": f"{maps.scale.strongest:.4g}",
        }
        return HttpResponse(picture, content_type="image/png", headers=headers)

    @extend_schema(request=None, responses={202: PredictionSerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str | None = None) -> Response:
        """Queue another run of a failed one; 409 if it cannot be run again."""
        new = retry_for(
            signed_in_user(request),
            self.get_object(),
            source=AuditSource.REST,
            request=request._request,
        )
        shown = self.get_queryset().get(pk=new.pk)
        return Response(self.get_serializer(shown).data, status=HTTPStatus.ACCEPTED)


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    if text in _SIZES:
        return _SIZES[text]
    limits = {"smallest": SIZES.start, "largest": SIZES[-1]}
    problem = gettext("A whole number from %(smallest)d to %(largest)d.") % limits
    raise InvalidInput(
        FIELD_PROBLEM,
        params={"field": "size", "problem": problem},
        fields={"size": [problem]},
    )
