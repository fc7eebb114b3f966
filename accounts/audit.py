"""Writes audit events; nothing else writes to the audit trail.

An event is written before the first byte of the answer that it describes. If it
cannot be written, `AuditUnavailable` is raised and the caller answers 503 instead.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError, models, transaction
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.errors import AuditUnavailable
from accounts.models import AuditChange, AuditEvent, AuditSubject, User


class AuditAction(models.TextChoices):
    """What the user did."""

    ACCESS = "access", _("Access")
    SIGN_IN = "sign_in", _("Sign in")
    SIGN_OUT = "sign_out", _("Sign out")
    CHANGE_PASSWORD = "change_password", _("Change password")
    VIEW = "view", _("View")
    LIST = "list", _("List")
    SEARCH = "search", _("Search")
    EXPORT = "export", _("Export")
    UPLOAD = "upload", _("Upload")
    CREATE = "create", _("Create")
    CHANGE = "change", _("Change")
    DELETE = "delete", _("Delete")
    RETRY = "retry", _("Retry")
    RESOLVE_CONFLICT = "resolve_conflict", _("Resolve conflict")
    ASSIGN_PATIENT = "assign_patient", _("Assign patient")


class AuditSource(models.TextChoices):
    """Where the request came from; uploads use the same words in `Upload.Source`."""

    WEB = "web", _("Web page")
    REST = "rest", _("REST")
    ADMIN = "admin", _("Admin site")
    COMMAND = "command", _("Command line")
    WORKER = "worker", _("Worker")


Outcome = AuditEvent.Outcome
LONGEST_VALUE = 1000


@dataclass(frozen=True)
class Change:
    """A changed field with its old and new value.

    Attributes:
        field: The name of the field.
        old: The value before; None where there was none, or where it is a secret.
        new: The value after; likewise.
        patient: The patient whose data the values are. They are erased with the
            patient.
    """

    field: str
    old: Any
    new: Any
    patient: UUID | None = None


def changes_between(
    before: Mapping[str, Any], after: Mapping[str, Any], *, patient: UUID | None = None
) -> list[Change]:
    """Return the fields whose values differ."""
    return [
        Change(field, before.get(field), value, patient)
        for field, value in after.items()
        if before.get(field) != value
    ]


def recorded_value(value: Any) -> Any:
    """Return a value as JSON that a person can read."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): recorded_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset | models.QuerySet):
        return [recorded_value(part) for part in value]
    return str(value)[:LONGEST_VALUE]


def record(
    *,
    action: str,
    actor: User | AnonymousUser | None,
    source: str,
    request: HttpRequest | None = None,
    object_kind: str = "",
    object_uuid: UUID | None = None,
    patients: Iterable[UUID] = (),
    outcome: str = Outcome.SUCCESS,
    detail: Mapping[str, object] | None = None,
    actor_name: str = "",
    address: str | None = None,
    changes: Iterable[Change] = (),
) -> AuditEvent:
    """Write one audit event with the patients whose data it shows or changes.

    Args:
        action: What was done, usually an `AuditAction`.
        actor: The user; None for programs and if nobody is signed in.
        source: Where the request came from, an `AuditSource` or `Upload.Source`.
        request: The HTTP request, for its address.
        object_kind: Name of the model: "study", "prediction", …
        object_uuid: Key of the object.
        patients: Keys of the patients whose data are shown or changed.
        outcome: Success, refused or failure.
        detail: Facts for the reader of the audit trail. Never a patient's name.
        actor_name: A user name as typed, if there is no actor.
        address: Where it came from, if there is no request.
        changes: The fields that were changed.

    Raises:
        AuditUnavailable: The event cannot be written: do not answer.
    """
    user = actor if isinstance(actor, User) else None
    named = user.get_username() if user is not None else actor_name
    try:
        with transaction.atomic():
            event = AuditEvent.objects.create(
                actor_uuid=user.pk if user is not None else None,
                actor_name=named.replace("\x00", "")[:150],
                action=action,
                object_kind=object_kind,
                object_uuid=object_uuid,
                source=source,
                address=client_address(request) if request is not None else address,
                outcome=outcome,
                detail=dict(detail or {}),
            )
            AuditSubject.objects.bulk_create(
                AuditSubject(event=event, patient_uuid=patient)
                for patient in sorted({p for p in patients if p is not None})
            )
            AuditChange.objects.bulk_create(
                AuditChange(
                    event=event,
                    patient_uuid=change.patient,
                    field=change.field,
                    old=recorded_value(change.old),
                    new=recorded_value(change.new),
                )
                for change in changes
            )
    except (DatabaseError, InterfaceError) as error:
        raise unavailable() from error
    return event


def unavailable() -> AuditUnavailable:
    """Return the answer to a request whose event cannot be written."""
    return AuditUnavailable(
        _(
            "The audit trail cannot be written at the moment, so ChestX shows "
            "nothing. Try again in a few seconds."
        )
    )


def network_of(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the addresses that the client at an address can choose from.

    It is the address alone, or the 64 bit network of an IPv6 address (RFC 6177).
    """
    bits = 32 if ipaddress.ip_address(address).version == 4 else 64
    return ipaddress.ip_network((address, bits), strict=False)


def client_address(request: HttpRequest) -> str | None:
    """Return the address that the request came from, or None if it is unknown.

    With PROXY_COUNT trusted proxies, the proxies wrote the last PROXY_COUNT entries of
    X-Forwarded-For. The entries before those come from the client and are ignored.
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


def value_name(field: str, value: str) -> str:
    """Return a value of an audit event in words; an unknown value is its own name.

    Args:
        field: "action", "source" or "object_kind".
        value: As it is stored.
    """
    if field == "object_kind":
        return _kind_names().get(value.replace("_", ""), value)
    choices = AuditAction if field == "action" else AuditSource
    return str(choices(value).label) if value in choices.values else value


def _kind_names() -> dict[str, str]:
    """Return the names of the kinds of objects: models and comparisons of them."""
    return {"comparison": gettext("comparison")} | {
        str(model._meta.model_name): str(model._meta.verbose_name)
        for model in apps.get_models()
    }


def field_name(object_kind: str, field: str) -> str:
    """Return a changed field in words; an unknown field is its own name."""
    kind = object_kind.replace("_", "")
    for model in apps.get_models():
        if model._meta.model_name == kind:
            names = {one.name: one for one in model._meta.fields}
            names |= {one.name: one for one in model._meta.many_to_many}
            return str(names[field].verbose_name) if field in names else field
    return field
