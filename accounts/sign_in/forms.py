"""The forms of sign-in and password change."""

from typing import Any

from django import forms
from django.contrib.auth.forms import (
    AuthenticationForm,
    PasswordChangeForm,
    UsernameField,
)
from django.http import HttpRequest

from accounts.models import User
from accounts.sign_in import lock_out

LONGEST_USER_NAME = User._meta.get_field("username").max_length


class SignInForm(AuthenticationForm):
    """Django's sign-in form with a limit on the length of the user name."""

    username = UsernameField(
        max_length=LONGEST_USER_NAME,
        widget=forms.TextInput(attrs={"autofocus": True}),
    )


class PasswordForm(PasswordChangeForm):
    """Django's form; tries of the old password count like failed sign-ins."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        """Check the old password.

        Raises:
            TooManyTries: There were too many wrong ones.
            ValidationError: It is wrong.
        """
        username = self.user.get_username()
        lock_out.begin_try(self.request, username)
        old_password: str = super().clean_old_password()
        lock_out.forget(self.request, username)
        return old_password
