"""The form of signing in."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField

from accounts.models import User


class SignInForm(AuthenticationForm):
    """Django's, but a name that is longer than any is refused before it is read."""

    username = UsernameField(
        max_length=User._meta.get_field(User.USERNAME_FIELD).max_length,
        widget=forms.TextInput(attrs={"autofocus": True}),
    )
