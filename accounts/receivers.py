"""Write audit events for sign-in, failed sign-in and sign-out."""

from typing import Any

from django.contrib.auth.signals import (
    user_logged_in,
    user_logged_out,
    user_login_failed,
)
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit
from accounts.audit import AuditAction, AuditSource, Outcome
from accounts.middleware import is_api
from accounts.models import User


@receiver(user_logged_in)
def record_sign_in(
    sender: type[User], request: HttpRequest, user: User, **kwargs: Any
) -> None:
    """Record a sign-in. If this fails, the user is not signed in."""
    audit.record(
        action=AuditAction.SIGN_IN,
        actor=user,
        request=request,
        source=_source(request),
        object_kind="user",
        object_uuid=user.pk,
    )


@receiver(user_login_failed)
def record_failed_sign_in(
    sender: str,
    credentials: dict[str, Any],
    request: HttpRequest | None = None,
    **kwargs: Any,
) -> None:
    """Record a failed sign-in under the name as typed, also while locked out."""
    audit.record(
        action=AuditAction.SIGN_IN,
        actor=None,
        actor_name=str(credentials.get(User.USERNAME_FIELD) or ""),
        request=request,
        source=_source(request),
        outcome=Outcome.REFUSED,
        detail={"locked_out": bool(getattr(request, "axes_locked_out", False))},
    )


@receiver(user_logged_out)
def record_sign_out(
    sender: type[User], request: HttpRequest, user: User | None, **kwargs: Any
) -> None:
    """Record a sign-out."""
    if user is not None:
        audit.record(
            action=AuditAction.SIGN_OUT,
            actor=user,
            request=request,
            source=_source(request),
            object_kind="user",
            object_uuid=user.pk,
        )


def _source(request: HttpRequest | None) -> str:
    if request is None:
        return AuditSource.COMMAND
    return AuditSource.REST if is_api(request) else AuditSource.WEB
