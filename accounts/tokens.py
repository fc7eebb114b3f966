"""API tokens: hashed, expiring, and narrowed to scopes."""

from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.settings import knox_settings

from accounts.access import Action, actions_of
from accounts.errors import InvalidInput
from accounts.models import Token, User


class ScopedTokenAuthentication(TokenAuthentication):
    """`Authorization: Token …`: `request.auth` is the token, with its scopes."""

    def _cleanup_token(self, auth_token: Token) -> bool:
        """Whether the token has expired. Nothing is written or deleted in passing.

        Knox reads every token of the user here, on every request; who asks for one a
        job has hundreds.
        """
        return auth_token.expiry is None or auth_token.expiry <= timezone.now()


def issue_token(
    user: User,
    *,
    scopes: Iterable[Action] | None = None,
    name: str = "",
    lifetime: timedelta | None = None,
) -> tuple[Token, str]:
    """Make a token; the text is returned once and only its digest is kept.

    Args:
        user: Whose token it is.
        scopes: What it opens; by default, everything that the role may do.
        name: What its owner calls it.
        lifetime: How long it is good for; by default TOKEN_HOURS.

    Returns:
        The row, and the text that goes into the Authorization header.

    Raises:
        InvalidInput: A scope that the role does not have.
    """
    own = actions_of(user)
    granted = own if scopes is None else frozenset(scopes)
    if foreign := granted - own:
        raise InvalidInput(
            f"Your role does not have: {', '.join(sorted(foreign))}.",
            reason_code="foreign_scope",
            fields={"scopes": sorted(foreign)},
        )
    Token.objects.filter(user=user, expiry__lte=timezone.now()).delete()
    return Token.objects.create(
        user=user,
        expiry=knox_settings.TOKEN_TTL if lifetime is None else lifetime,
        scopes=sorted(granted),
        name=name,
    )
