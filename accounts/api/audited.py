"""REST views that write an audit event before they answer with patient data."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import models
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import audit
from accounts.audit import AuditAction, AuditSource

# With other parameters a list is a search: its answer tells whether a row exists.
PAGING_PARAMETERS = frozenset({"cursor", "page_size", "ordering"})


class AuditedReadMixin(GenericViewSet):
    """Viewset mixin: `list` and `retrieve` write an audit event, then answer.

    `object_kind` names what is shown; `patient_path` is the lookup from the model to
    its patient's key ("study__patient_id"), or None if there is no patient data.
    """

    object_kind: str
    patient_path: str | None = None

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Write the audit event with the listed patients, then answer one page."""
        queryset = self.filter_queryset(self.get_queryset())
        page = self.paginate_queryset(queryset) or []
        parameters = sorted(
            name for name, value in request.query_params.items() if value
        )
        searched = set(parameters) - PAGING_PARAMETERS
        self.record_read(
            AuditAction.SEARCH if searched else AuditAction.LIST,
            page,
            # The names of the parameters only: the values may be a patient's name.
            detail={"rows": len(page), "parameters": parameters},
        )
        serializer = self.get_serializer(page, many=True)
        return self.get_paginated_response(serializer.data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Write the audit event with the patient, then answer one row."""
        shown = self.get_object()
        self.record_read(AuditAction.VIEW, [shown], object_uuid=shown.pk)
        return Response(self.get_serializer(shown).data)

    def record_read(
        self,
        action: str,
        shown: Iterable[models.Model],
        *,
        object_uuid: UUID | None = None,
        detail: Mapping[str, object] | None = None,
        object_kind: str = "",
    ) -> None:
        """Write the audit event for showing these rows.

        Raises:
            AuditUnavailable: The event cannot be written: show nothing.
        """
        audit.record(
            action=action,
            actor=self.request.user,
            request=self.request,
            source=AuditSource.REST,
            object_kind=object_kind or self.object_kind,
            object_uuid=object_uuid,
            patients=self.patients_of(shown),
            detail=detail,
        )

    def patients_of(self, shown: Iterable[models.Model]) -> set[UUID]:
        """Return the patients' keys of these rows, in one query."""
        rows = list(shown)
        if self.patient_path is None or not rows:
            return set()
        if self.patient_path in ("pk", "id"):
            return {row.pk for row in rows}
        return patient_keys(rows, self.patient_path)


def patient_keys(rows: list[models.Model], path: str) -> set[UUID]:
    """Return the patients' keys at `path` of these rows of one model."""
    keys = (
        type(rows[0])
        ._base_manager.filter(pk__in=[row.pk for row in rows])
        .order_by()
        .values_list(path, flat=True)
        .distinct()
    )
    return {key for key in keys if key is not None}
