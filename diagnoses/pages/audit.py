"""The audit events of the pages: written before the data is shown."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from django.http import HttpRequest

from accounts import audit
from accounts.audit import AuditAction, AuditSource
from accounts.models import User


def record_read(
    request: HttpRequest,
    *,
    object_kind: str,
    object_uuid: UUID | None = None,
    patients: Iterable[UUID],
    action: str = AuditAction.VIEW,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Write the event of a page, a fragment or a picture that shows patient data.

    Raises:
        AuditUnavailable: The event could not be written: nothing may be shown.
    """
    audit.record(
        action=action,
        actor=request.user if isinstance(request.user, User) else None,
        request=request,
        source=AuditSource.WEB,
        object_kind=object_kind,
        object_uuid=object_uuid,
        patients=patients,
        detail=detail,
    )
