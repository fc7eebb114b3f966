"""API tokens: stored as a digest, with an expiry time and scopes."""

from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from knox.auth import TokenAuthentication
from knox.settings import knox_settings
from rest_framework.exceptions import AuthenticationFailed

from accounts.access import Action, actions_of
from accounts.errors import InvalidInput
from accounts.models import Token, User


class ScopedTokenAuthentication(TokenAuthentication):
    """Token authentication; the user carries the scopes of the token."""

    def authenticate_credentials(self, token: bytes) -> tuple[User, Token]:
        """Return the user, limited to the scopes of the token, and the token.

        Raises:
            AuthenticationFailed: There is no such token. Knox itself fails on a text
                that is not UTF-8.
        """
        if not token.isalnum():
            raise AuthenticationFailed(_("Invalid token."))
        user, found = super().authenticate_credentials(token)
        user.token_scopes = frozenset(found.scopes)
        return user, found

    def _cleanup_token(self, auth_token: Token) -> bool:
        """Return whether the token has expired, without deleting any token.

        Knox would read all tokens of the user on every request, and a program that
        takes a token for each job has hundreds.
        """
        return auth_token.expiry is None or auth_token.expiry <= timezone.now()


def issue_token(
    user: User,
    *,
    scopes: Iterable[Action] | None = None,
    name: str = "",
    lifetime: timedelta | None = None,
) -> tuple[Token, str]:
    """Create a token. Its text is returned once; only the digest is stored.

    Args:
        user: The owner.
        scopes: Allowed actions; default: all actions of the role.
        name: A name for the owner's list of tokens.
        lifetime: Time until it expires; default: TOKEN_HOURS.

    Returns:
        The row, and the text for the Authorization header.

    Raises:
        InvalidInput: The role does not have one of the scopes.
    """
    own = actions_of(user)
    granted = own if scopes is None else frozenset(scopes)
    if foreign := granted - own:
        raise InvalidInput(
            _("Your role does not have these scopes: %(scopes)s."),
            params={"scopes": ", ".join(sorted(foreign))},
            reason_code="foreign_scope",
            fields={"scopes": sorted(foreign)},
        )
    Token.objects.filter(user=user, expiry__lte=timezone.now()).delete()
    token, text = Token.objects.create(
        user=user,
        expiry=knox_settings.TOKEN_TTL if lifetime is None else lifetime,
        scopes=sorted(granted),
        name=name,
    )
    return token, text
