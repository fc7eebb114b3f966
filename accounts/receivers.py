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
from accounts.audit import AuditAction, AuditSource
from accounts.middleware import is_api
from accounts.models import User
from accounts.refusals.counted import record_or_count


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
    """Record or count a failed sign-in, also while locked out."""
    name = str(credentials.get(User.USERNAME_FIELD) or "").replace("\x00", "")[:150]
    locked_out = bool(getattr(request, "axes_locked_out", False))
    record_or_count(
        request,
        action=AuditAction.SIGN_IN,
        source=_source(request),
        detail={"locked_out": locked_out},
        reason="locked_out" if locked_out else "",
        actor_name=name,
        known_name=User.objects.filter(username=name).exists(),
    )
    if request is not None:
        # The middleware writes no second event.
        setattr(request, "sign_in_failed", True)  # noqa: B010 (no attribute of the type)


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
