"""The sign-in form."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField

from accounts.models import User

LONGEST_USER_NAME = User._meta.get_field("username").max_length


class SignInForm(AuthenticationForm):
    """Django's sign-in form with a limit on the length of the user name."""

    username = UsernameField(
        max_length=LONGEST_USER_NAME,
        widget=forms.TextInput(attrs={"autofocus": True}),
    )
