"""About the models: their cards and states."""

from typing import Any

from django.db import models
from django.db.models import Case, Value, When
from django_filters import rest_framework as filters
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.viewsets import GenericViewSet

from accounts.access import Action
from accounts.audited import AuditedReadMixin
from accounts.errors import NotFound
from diagnoses.api.serializers import ModelVersionSerializer
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
    object_kind = "model_version"
    filterset_class = ModelFilter
    ordering_fields = ("name", "installed_at", "state")
    ordering = ("name", "-installed_at")
    lookup_field = "name"
    lookup_value_regex = r"[\w.-]+"

    def get_object(self) -> ModelVersion:
        """Return the active version of the name, else the one installed last.

        Raises:
            NotFound: No version has this name.
        """
        found = (
            self.get_queryset()
            .filter(name=self.kwargs["name"])
            .order_by(_active_first(), "-installed_at")
            .first()
        )
        if found is None:
            raise NotFound("There is no model of this name.")
        self.check_object_permissions(self.request, found)
        return found


def _active_first() -> Any:
    return Case(
        When(state=State.ACTIVE, then=Value(0)),
        default=Value(1),
        output_field=models.IntegerField(),
    )
