"""The errors of the application: what a source turns into an answer, each source once.

Two axes: whether the sentence may be shown to the user, and whether the same thing
tried again would end the same way. `reason_code` is for programs, the sentence for
people. `ml.errors` has the same attributes and knows nothing of this module.
"""

# ruff: noqa: N818 (named after what happened: a source reads `except NotFound`)

from collections.abc import Mapping, Sequence
from http import HTTPStatus


class ChestXError(Exception):
    """Something that a source answers with a sentence instead of a stack trace.

    Args:
        message: A sentence that the user can act on.
        reason_code: What happened, for programs; the class has a default.
        fields: Which fields of the input were wrong, and how.
    """

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    default_reason_code = "internal_error"
    shown = True
    permanent = True

    def __init__(
        self,
        message: str,
        *,
        reason_code: str = "",
        fields: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason_code = reason_code or self.default_reason_code
        self.fields = {name: list(said) for name, said in (fields or {}).items()}

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

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, in seconds (RFC 9110, 10.2.3)."""
        return {"Retry-After": str(self.retry_after)}


class Unavailable(ChestXError):
    """A passing fault of ours: the same thing tried again later may work.

    Args:
        message: A sentence that the user can act on.
        reason_code: What happened, for programs.
        retry_after: Seconds after which it is worth trying again.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_reason_code = "unavailable"
    permanent = False

    def __init__(
        self, message: str, *, reason_code: str = "", retry_after: int = 5
    ) -> None:
        super().__init__(message, reason_code=reason_code)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, in seconds (RFC 9110, 10.2.3)."""
        return {"Retry-After": str(self.retry_after)}


class AuditUnavailable(Unavailable):
    """The trail cannot be written, so what it would tell of is not answered."""

    default_reason_code = "audit_unavailable"
