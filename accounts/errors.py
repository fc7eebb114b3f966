"""The errors of the application: what a source turns into an answer, each source once.

Two axes: whether the sentence may be shown to the user, and whether the same thing
tried again would end the same way. `reason_code` is for programs, the sentence for
people. `ml.errors` has the same attributes and knows nothing of this module.
"""

# ruff: noqa: N818 (named after what happened: a source reads `except NotFound`)

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from django.utils.functional import Promise

from accounts.messages import Message


class ChestXError(Exception):
    """An error that is answered with a sentence instead of a stack trace.

    Args:
        message: A sentence that the user can act on: a `Message`, or a lazy
            translation with named placeholders.
        params: Values of the placeholders.
        reason_code: What happened, for programs. Default: that of the message, else
            that of the class.
        fields: Which fields of the input were wrong, and how.
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
        """Headers that belong to the HTTP answer."""
        return {}


class NotSignedIn(ChestXError):
    """Nobody is signed in, or the token is not one of ours."""

    status = HTTPStatus.UNAUTHORIZED
    default_reason_code = "not_signed_in"


class NotAllowed(ChestXError):
    """The role, or the token's scopes, do not have this action."""

    status = HTTPStatus.FORBIDDEN
    default_reason_code = "not_allowed"


class NotFound(ChestXError):
    """There is no such thing, or the user may not see it: the same answer."""

    status = HTTPStatus.NOT_FOUND
    default_reason_code = "not_found"


class InvalidInput(ChestXError):
    """What was sent cannot be taken as it is."""

    status = HTTPStatus.BAD_REQUEST
    default_reason_code = "invalid_input"


class Conflict(ChestXError):
    """What was sent contradicts the record, or the record's present state."""

    status = HTTPStatus.CONFLICT
    default_reason_code = "conflict"


class TooLarge(ChestXError):
    """A file or a request is over its limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_reason_code = "too_large"


class TooManyTries(ChestXError):
    """Signing in failed too often: locked out for a while."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    default_reason_code = "locked_out"
    permanent = False

    def __init__(
        self,
        message: Message | Promise | str,
        *,
        params: Mapping[str, object] | None = None,
        retry_after: int,
    ) -> None:
        super().__init__(message, params=params)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, in seconds (RFC 9110, 10.2.3)."""
        return {"Retry-After": str(self.retry_after)}


class Unavailable(ChestXError):
    """A passing fault of ours: the same thing tried again later may work.

    Args:
        message: A sentence that the user can act on.
        params: Values of its placeholders.
        reason_code: What happened, for programs.
        retry_after: Seconds after which it is worth trying again.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_reason_code = "unavailable"
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


class AuditUnavailable(Unavailable):
    """The trail cannot be written, so what it would tell of is not answered."""

    default_reason_code = "audit_unavailable"
