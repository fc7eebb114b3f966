"""REST: model versions, their states, thresholds and comparisons."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

from django.db import models
from django.db.models import Case, Value, When
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.viewsets import GenericViewSet

from accounts import audit
from accounts.access import Action, signed_in_user
from accounts.api.audited import AuditedReadMixin
from accounts.api.filters import KeyFilterSet
from accounts.audit import AuditAction, AuditSource
from accounts.errors import InvalidInput, NotFound
from diagnoses.api.model_serializers import (
    ActivationSerializer,
    ComparisonSerializer,
    DecisionSerializer,
    InUseSerializer,
    ModelDetailSerializer,
    ModelVersionSerializer,
    NewOperatingPointSerializer,
    OperatingPointSerializer,
    RollbackSerializer,
    comparison_json,
)
from diagnoses.governance.comparison import compare
from diagnoses.governance.operating_points import choose_named_set, set_operating_point
from diagnoses.governance.transitions import (
    Decision,
    activate,
    retire,
    roll_back,
    run_in_shadow,
)
from diagnoses.messages import FIELD_PROBLEM
from diagnoses.models import ModelVersion

State = ModelVersion.State


class ModelFilter(KeyFilterSet):
    """Which versions to list."""

    class Meta:
        model = ModelVersion
        fields = ("name", "version", "state")


class ModelViewSet(
    AuditedReadMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """Versions of models with their cards; by name, the active version first."""

    queryset = ModelVersion.objects.all()
    serializer_class = ModelVersionSerializer
    required_action = Action.READ_MODELS
    required_actions: ClassVar = {
        "compare": Action.READ_SHADOW,
        "activate": Action.ADMINISTER,
        "shadow": Action.ADMINISTER,
        "retire": Action.ADMINISTER,
        "rollback": Action.ADMINISTER,
        "set_operating_point": Action.ADMINISTER,
    }
    object_kind = "model_version"
    filterset_class = ModelFilter
    ordering_fields = ("name", "installed_at", "state")
    ordering = ("name", "-installed_at")
    lookup_field = "name"
    lookup_value_regex = r"[\w.-]+"

    def get_serializer_class(self) -> type[BaseSerializer]:
        """Return the detailed serializer for one version, else the short one."""
        if self.action == "retrieve":
            return ModelDetailSerializer
        return super().get_serializer_class()

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "version", str, description="Default: the active one, else the newest."
            )
        ]
    )
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return one version with its decisions and local validations."""
        return super().retrieve(request, *args, **kwargs)

    def get_object(self) -> ModelVersion:
        """Return the version in the query, else the active one, else the newest.

        Raises:
            NotFound: No version has this name, or none this number.
        """
        number = self.request.query_params.get("version", "")
        return self._version(number, _active_first())

    def _version(self, number: str, *order: Any) -> ModelVersion:
        named = self.get_queryset().filter(name=self.kwargs["name"])
        versions = named.order_by(*order, "-installed_at")
        # Compared here: PostgreSQL refuses a text with NUL in it.
        version = next((v for v in versions if number in ("", v.version)), None)
        if version is None:
            raise NotFound(_("There is no model with this name and version."))
        self.check_object_permissions(self.request, version)
        return version

    @extend_schema(request=ActivationSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, name: str) -> Response:
        """Activate a version; it replaces the active version of the model.

        409 if it has no local validation and no reason for activating without it.
        """
        given = _given(ActivationSerializer, request)
        without = given.get("without_acceptance", "")
        return self._decide(given, activate, without_acceptance=without)

    @extend_schema(request=DecisionSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def shadow(self, request: Request, name: str) -> Response:
        """Run a version in shadow; its results are hidden from readers."""
        return self._decide(_given(DecisionSerializer, request), run_in_shadow)

    @extend_schema(request=InUseSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, name: str) -> Response:
        """Retire a version; without `version`, the active one."""
        given = _given(InUseSerializer, request)
        return self._decide(given, retire, _active_first())

    @extend_schema(request=RollbackSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, name: str) -> Response:
        """Go back to the version that was active before; it reads new images."""
        given = _given(RollbackSerializer, request)
        self._version("")
        change = roll_back(name, decision=self._decision(given), to=given.get("to", ""))
        return self._shown(change.model_version)

    @extend_schema(responses={200: OperatingPointSerializer(many=True)}, filters=False)
    @action(detail=True, url_path="operating-points", pagination_class=None)
    def operating_points(self, request: Request, name: str) -> Response:
        """Return all thresholds ever set for a version, the latest first."""
        version = self.get_object()
        self.record_read(AuditAction.VIEW, [version], object_uuid=version.pk)
        points = version.operating_points.select_related("set_by")
        latest = points.order_by("-effective_from", "label")
        return Response(OperatingPointSerializer(latest, many=True).data)

    @extend_schema(
        request=NewOperatingPointSerializer,
        responses={201: OperatingPointSerializer(many=True)},
    )
    @operating_points.mapping.post
    def set_operating_point(self, request: Request, name: str) -> Response:
        """Set the threshold of a label, or all thresholds to a named set of the card.

        The thresholds apply to new images; earlier findings stay as they are.
        """
        given = _given(NewOperatingPointSerializer, request)
        number = given.get("version", "")
        version = self._version(number, _active_first())
        decision = self._decision(given)
        if "set" in given:
            points = choose_named_set(version, name=given["set"], decision=decision)
        else:
            point = set_operating_point(
                version, label=given["label"], value=given["value"], decision=decision
            )
            points = [point]
        return Response(
            OperatingPointSerializer(points, many=True).data, status=HTTPStatus.CREATED
        )

    @extend_schema(
        parameters=[
            OpenApiParameter("first", str, required=True, description="name@version"),
            OpenApiParameter("second", str, required=True, description="name@version"),
        ],
        responses={200: ComparisonSerializer},
        filters=False,
    )
    @action(detail=False, pagination_class=None)
    def compare(self, request: Request) -> Response:
        """Compare two versions on the images that both have read, including shadow."""
        first, second = (self._compared(place) for place in ("first", "second"))
        user = signed_in_user(request)
        comparison = compare(first, second, user=user)
        audit.record(
            action=AuditAction.VIEW,
            actor=user,
            request=request._request,
            source=AuditSource.REST,
            object_kind="comparison",
            patients={image.patient_id for image in comparison.differing},
            detail={"first": str(first), "second": str(second)},
        )
        return Response(comparison_json(comparison))

    def _compared(self, place: str) -> ModelVersion:
        written = self.request.query_params.get(place, "")
        known = {f"{v.name}@{v.version}": v for v in self.get_queryset()}
        if written not in known:
            problem = gettext("Give name@version of an installed model.")
            raise InvalidInput(
                FIELD_PROBLEM,
                params={"field": place, "problem": problem},
                fields={place: [problem]},
            )
        return known[written]

    def _decide(
        self,
        given: dict[str, Any],
        decide: Callable[..., Any],
        *order: Any,
        **arguments: str,
    ) -> Response:
        version = self._version(given.get("version", ""), *order)
        decide(version, decision=self._decision(given), **arguments)
        return self._shown(version)

    def _decision(self, given: dict[str, Any]) -> Decision:
        return Decision(
            signed_in_user(self.request),
            given["reason"],
            AuditSource.REST,
            self.request._request,
        )

    def _shown(self, version: ModelVersion) -> Response:
        context = self.get_serializer_context()
        return Response(ModelDetailSerializer(version, context=context).data)


def _given(serializer: type[Serializer], request: Request) -> dict[str, Any]:
    checked = serializer(data=request.data)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


def _active_first() -> Any:
    return Case(
        When(state=State.ACTIVE, then=Value(0)),
        default=Value(1),
        output_field=models.IntegerField(),
    )
