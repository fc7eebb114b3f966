"""The authentication backend that limits failed sign-ins."""

from typing import Any

from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest

from accounts.errors import TooManyTries
from accounts.models import User
from accounts.sign_in import lock_out


class LockOutBackend:
    """Count every try before another backend checks the password.

    It stands first in AUTHENTICATION_BACKENDS, so that no sign-in can pass it by. No
    session is its own: it has no `get_user`.
    """

    def authenticate(
        self, request: HttpRequest | None, **credentials: Any
    ) -> User | None:
        """Count the try, and leave the password to the next backend.

        Raises:
            TooManyTries: The name or the address has to wait.
        """
        username = str(credentials.get(User.USERNAME_FIELD) or "")
        try:
            lock_out.begin_try(request, username)
        except TooManyTries:
            user_login_failed.send(
                sender=__name__,
                credentials={User.USERNAME_FIELD: username},
                request=request,
                locked_out=True,
            )
            raise
        return None
