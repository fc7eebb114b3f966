"""About the models: their cards, who may use them, by which thresholds, and how two
compare.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

from django.db import models
from django.db.models import Case, Value, When
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import GenericViewSet

from accounts import audit
from accounts.access import Action
from accounts.api.audited import AuditedReadMixin
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
from diagnoses.models import ModelVersion

State = ModelVersion.State


class ModelFilter(filters.FilterSet):
    """Which versions to list."""

    class Meta:
        model = ModelVersion
        fields = ("name", "version", "state")


class ModelViewSet(
    AuditedReadMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """Versions of models with their cards; one by its name: the active one first."""

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

    def get_serializer_class(self) -> type[Serializer]:
        """Return the long form of one version, the short one of a list."""
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
        """Answer one version, with what was decided about it and measured here."""
        return super().retrieve(request, *args, **kwargs)

    def get_object(self) -> ModelVersion:
        """Return the version asked for, else the active one, else the newest.

        Raises:
            NotFound: No version has this name, or none this number.
        """
        number = self.request.query_params.get("version", "")
        return self._version(number, _active_first())

    def _version(self, number: str, *order: Any) -> ModelVersion:
        named = self.get_queryset().filter(name=self.kwargs["name"])
        versions = named.order_by(*order, "-installed_at")
        # Compared here: the database refuses to look for a number with NUL in it.
        found = next((v for v in versions if number in ("", v.version)), None)
        if found is None:
            raise NotFound("There is no model of this name and version.")
        self.check_object_permissions(self.request, found)
        return found

    @extend_schema(request=ActivationSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, name: str) -> Response:
        """Let a version read the images that fit; it replaces the active one.

        409 where it was not measured on this site's images and no reason is given for
        doing without.
        """
        given = _given(ActivationSerializer, request)
        without = given.get("without_acceptance", "")
        return self._decide(given, activate, without_acceptance=without)

    @extend_schema(request=DecisionSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def shadow(self, request: Request, name: str) -> Response:
        """Let a version read every image that fits, unseen by readers."""
        return self._decide(_given(DecisionSerializer, request), run_in_shadow)

    @extend_schema(request=InUseSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, name: str) -> Response:
        """Let a version read no further images: without `version` the active one."""
        given = _given(InUseSerializer, request)
        return self._decide(given, retire, _active_first())

    @extend_schema(request=RollbackSerializer, responses={200: ModelDetailSerializer})
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, name: str) -> Response:
        """Go back to the version that was active before, from the next image on."""
        given = _given(RollbackSerializer, request)
        self._version("")
        change = roll_back(name, decision=self._decision(given), to=given.get("to", ""))
        return self._shown(change.model_version)

    @extend_schema(responses={200: OperatingPointSerializer(many=True)}, filters=False)
    @action(detail=True, url_path="operating-points", pagination_class=None)
    def operating_points(self, request: Request, name: str) -> Response:
        """Answer every threshold that was ever set for a version, the latest first."""
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
        """Judge a label by another threshold, or all of them by a set of the card.

        What was judged before stays as it was judged.
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
        """Compare two versions on the images that both have read, shadow or not."""
        first, second = (self._compared(place) for place in ("first", "second"))
        found = compare(first, second, user=request.user)
        audit.record(
            action=AuditAction.VIEW,
            actor=request.user,
            request=request,
            source=AuditSource.REST,
            object_kind="comparison",
            patients={image.patient_id for image in found.differing},
            detail={"first": str(first), "second": str(second)},
        )
        return Response(comparison_json(found))

    def _compared(self, place: str) -> ModelVersion:
        written = self.request.query_params.get(place, "")
        known = {f"{v.name}@{v.version}": v for v in self.get_queryset()}
        if written not in known:
            said = "name@version of an installed model."
            raise InvalidInput(f"{place}: {said}", fields={place: [said]})
        return known[written]

    def _decide(
        self,
        given: dict[str, Any],
        decide: Callable[..., Any],
        *order: Any,
        **said: str,
    ) -> Response:
        version = self._version(given.get("version", ""), *order)
        decide(version, decision=self._decision(given), **said)
        return self._shown(version)

    def _decision(self, given: dict[str, Any]) -> Decision:
        return Decision(
            self.request.user, given["reason"], AuditSource.REST, self.request
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
