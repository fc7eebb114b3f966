"""Errors of the application; pages, REST and commands each turn them into answers.

`shown` says whether users may see the sentence, `permanent` whether a retry would fail
the same way. `reason_code` is for programs, the sentence for people. `ml.errors` has
the same attributes and does not know this module.
"""

# ruff: noqa: N818 (named after what happened: `except NotFound`)

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from django.db import InterfaceError, OperationalError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.messages import Message


class ChestXError(Exception):
    """An error whose sentence is shown to the user.

    Args:
        message: A sentence that the user can act on: a `Message`, or a lazy
            translation with named placeholders.
        params: Values of the placeholders.
        reason_code: What happened, for programs. Default: that of the message, else
            that of the class.
        fields: The wrong fields of the input, each with its errors.
    """

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    default_reason_code = "internal_error"
    shown = True
    permanent = True

    def __init__(
        self,
        message: Message | Promise | str,
        *,
        params: Mapping[str, object] | None = None,
        reason_code: str = "",
        fields: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.text = message.text if isinstance(message, Message) else message
        self.message_code = message.code if isinstance(message, Message) else ""
        self.params = dict(params or {})
        if isinstance(message, Message) and not reason_code:
            reason_code = message.reason_code or message.code
        self.reason_code = reason_code or self.default_reason_code
        self.fields = {name: list(errors) for name, errors in (fields or {}).items()}

    @property
    def message(self) -> str:
        """The sentence in the language of the reader."""
        return str(self.text) % self.params if self.params else str(self.text)

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the HTTP answer."""
        return {}


class NotSignedIn(ChestXError):
    """The user is not signed in, or the token is not valid."""

    status = HTTPStatus.UNAUTHORIZED
    default_reason_code = "not_signed_in"


class NotAllowed(ChestXError):
    """The role or the token's scopes do not allow this action."""

    status = HTTPStatus.FORBIDDEN
    default_reason_code = "not_allowed"


class NotFound(ChestXError):
    """The object does not exist, or the user may not see it: the same answer."""

    status = HTTPStatus.NOT_FOUND
    default_reason_code = "not_found"


class InvalidInput(ChestXError):
    """The input is not valid."""

    status = HTTPStatus.BAD_REQUEST
    default_reason_code = "invalid_input"


class Conflict(ChestXError):
    """The input contradicts the record or its current state."""

    status = HTTPStatus.CONFLICT
    default_reason_code = "conflict"


class TooLarge(ChestXError):
    """A file or a request is over its limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_reason_code = "too_large"


class RetryLater(ChestXError):
    """A temporary error: a later retry may work.

    Args:
        message: A sentence that the user can act on.
        params: Values of its placeholders.
        reason_code: What happened, for programs.
        retry_after: Seconds to wait before a retry.
    """

    permanent = False

    def __init__(
        self,
        message: Message | Promise | str,
        *,
        params: Mapping[str, object] | None = None,
        reason_code: str = "",
        retry_after: int = 5,
    ) -> None:
        super().__init__(message, params=params, reason_code=reason_code)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, in seconds (RFC 9110, 10.2.3)."""
        return {"Retry-After": str(self.retry_after)}


class TooManyTries(RetryLater):
    """Sign-in failed too often: the user name is locked for a while."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    default_reason_code = "locked_out"


class Unavailable(RetryLater):
    """A part of ChestX cannot be reached at the moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_reason_code = "unavailable"


class AuditUnavailable(Unavailable):
    """The audit event cannot be written, so the request is not answered."""

    default_reason_code = "audit_unavailable"


def database_unavailable() -> Unavailable:
    """Return the answer to a lost database."""
    return Unavailable(
        _(
            "The database cannot be reached at the moment. Nothing is lost. "
            "Try again in a few seconds."
        ),
        reason_code="database_unavailable",
    )


def is_database_lost(error: BaseException | None) -> bool:
    """Return whether the error or one of its causes is a lost connection."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError):
            return True
        error = error.__cause__
    return False
