"""Write audit events for sign-in, failed sign-in and sign-out."""

import logging
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
from accounts.errors import AuditUnavailable
from accounts.middleware import is_api
from accounts.models import User
from accounts.refusals.counted import record_or_count
from accounts.sign_in.lock_out import forget, name_digest

logger = logging.getLogger(__name__)


@receiver(user_logged_in)
def record_sign_in(
    sender: type[User], request: HttpRequest, user: User, **kwargs: Any
) -> None:
    """Record a sign-in and forget failed ones. If this fails, nobody is signed in."""
    audit.record(
        action=AuditAction.SIGN_IN,
        actor=user,
        request=request,
        source=_source(request),
        object_kind="user",
        object_uuid=user.pk,
    )
    forget(request, user.get_username())


@receiver(user_login_failed)
def record_failed_sign_in(
    sender: str,
    credentials: dict[str, Any],
    request: HttpRequest | None = None,
    locked_out: bool = False,
    **kwargs: Any,
) -> None:
    """Record or count a failed sign-in, also while locked out.

    The name of a user is kept, of an unknown name only the keyed hash: it may be a
    password that was typed into the wrong field.
    """
    name = str(credentials.get(User.USERNAME_FIELD) or "")
    is_known = User.objects.filter(username=name).exists()
    detail: dict[str, object] = {"locked_out": locked_out}
    record_or_count(
        request,
        action=AuditAction.SIGN_IN,
        source=_source(request),
        detail=detail if is_known else detail | {"name_digest": name_digest(name)},
        reason="locked_out" if locked_out else "",
        actor_name=name if is_known else "",
    )
    if request is not None:
        # The middleware writes no second event.
        setattr(request, "sign_in_failed", True)  # noqa: B010 (no attribute of the type)


@receiver(user_logged_out)
def record_sign_out(
    sender: type[User], request: HttpRequest, user: User | None, **kwargs: Any
) -> None:
    """Record a sign-out. It works without the audit trail too: it shows nothing."""
    if user is None:
        return
    try:
        audit.record(
            action=AuditAction.SIGN_OUT,
            actor=user,
            request=request,
            source=_source(request),
            object_kind="user",
            object_uuid=user.pk,
        )
    except AuditUnavailable:
        logger.error("the sign-out of user %s is not in the audit trail", user.pk)


def _source(request: HttpRequest | None) -> str:
    if request is None:
        return AuditSource.COMMAND
    return AuditSource.REST if is_api(request) else AuditSource.WEB
