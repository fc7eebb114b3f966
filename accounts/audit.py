"""The one writer of the audit trail.

An event is written before the first byte of what it tells of. If it cannot be
written, `AuditUnavailable` is raised and the source answers 503 instead.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.http import HttpRequest

from accounts.errors import AuditUnavailable
from accounts.models import AuditEvent, AuditSubject, User


class AuditAction(StrEnum):
    """What an event tells of."""

    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    CHANGE_PASSWORD = "change_password"  # noqa: S105 (a name, not a password)
    VIEW = "view"
    LIST = "list"
    SEARCH = "search"
    EXPORT = "export"
    UPLOAD = "upload"
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    RETRY = "retry"
    RESOLVE_CONFLICT = "resolve_conflict"
    ASSIGN_PATIENT = "assign_patient"


class AuditSource(StrEnum):
    """Which way the user came in; uploads say theirs by `Upload.Source`, same words."""

    WEB = "web"
    REST = "rest"
    ADMIN = "admin"
    COMMAND = "command"
    WORKER = "worker"


Outcome = AuditEvent.Outcome


def record(
    *,
    action: str,
    actor: User | None,
    source: str,
    request: HttpRequest | None = None,
    object_kind: str = "",
    object_uuid: UUID | None = None,
    patients: Iterable[UUID] = (),
    outcome: str = Outcome.SUCCESS,
    detail: Mapping[str, object] | None = None,
    actor_name: str = "",
) -> AuditEvent:
    """Write one event and whose data it showed or changed.

    Args:
        action: What was done, an `AuditAction` where one fits.
        actor: Who did it; None for somebody who is not signed in, and for programs.
        source: Which way in, an `AuditSource` or an `Upload.Source`.
        request: The HTTP request, for the address that it came from.
        object_kind: What it was done to: "study", "prediction", … (the model's name).
        object_uuid: Which one.
        patients: The keys of the patients whose data were shown or changed.
        outcome: Whether it was done, refused or failed.
        detail: Facts for the reader of the trail. Never a patient's name.
        actor_name: The user name as given, where there is no actor.

    Raises:
        AuditUnavailable: The event could not be written: do not answer.
    """
    named = actor.get_username() if actor is not None else actor_name
    try:
        with transaction.atomic():
            event = AuditEvent.objects.create(
                actor_uuid=actor.pk if actor is not None else None,
                actor_name=named.replace("\x00", "")[:150],
                action=action,
                object_kind=object_kind,
                object_uuid=object_uuid,
                source=source,
                address=client_address(request) if request is not None else None,
                outcome=outcome,
                detail=dict(detail or {}),
            )
            AuditSubject.objects.bulk_create(
                AuditSubject(event=event, patient_uuid=patient)
                for patient in sorted({p for p in patients if p is not None})
            )
    except (DatabaseError, InterfaceError) as error:
        raise AuditUnavailable(
            "The audit trail cannot be written at the moment, so nothing is shown. "
            "Please try again in a few seconds."
        ) from error
    return event


def client_address(request: HttpRequest) -> str | None:
    """Return the address that the request came from, or None where it is not known.

    With PROXY_COUNT trusted proxies the last PROXY_COUNT entries of X-Forwarded-For
    were written by them; whatever stands before was written by the client itself
    and is not believed.
    """
    address = request.META.get("REMOTE_ADDR", "")
    trusted: int = settings.TRUSTED_PROXY_COUNT
    if trusted:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(forwarded) >= trusted:
            address = forwarded[-trusted].strip() or address
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None
