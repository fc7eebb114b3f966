"""Rules for new passwords (AUTH_PASSWORD_VALIDATORS)."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from zxcvbn import zxcvbn

from accounts.models import User

# Of 0 to 4: "very unguessable", over 10^10 guesses.
LEAST_SCORE = 4
# More are not weighed: long passwords take long, and these are enough.
_WEIGHED_CHARACTERS = 72
_LEAST_OTHER_CHARACTERS = 8
_SHORTEST_NAME = 3
# Words that attackers of this site try first.
_OWN_WORDS = ("chestx", "radiology", "hospital")


class GuessesValidator:
    """Refuse a password that can be guessed: a common one, dates, patterns, names."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Refuse a weak password.

        Raises:
            ValidationError: password_too_guessable.
        """
        weighed = password[:_WEIGHED_CHARACTERS]
        found = zxcvbn(weighed, user_inputs=[*_OWN_WORDS, *_names_of(user)])
        if found["score"] < LEAST_SCORE:
            raise ValidationError(
                _("This password is easy to guess. Use several unrelated words."),
                code="password_too_guessable",
            )

    def get_help_text(self) -> str:
        """Return the rule in words."""
        return gettext("Your password must not be easy to guess.")


class OwnNameValidator:
    """Refuse a password that is little more than the user's name."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Refuse a password with too little beside the names of the user.

        Raises:
            ValidationError: password_repeats_name.
        """
        rest = password.casefold()
        for name in sorted(_names_of(user), key=len, reverse=True):
            rest = rest.replace(name, "").replace(name[::-1], "")
        if rest != password.casefold() and len(rest) < _LEAST_OTHER_CHARACTERS:
            raise ValidationError(
                _(
                    "Beside your name, the password needs at least %(limit)d other "
                    "characters."
                ),
                code="password_repeats_name",
                params={"limit": _LEAST_OTHER_CHARACTERS},
            )

    def get_help_text(self) -> str:
        """Return the rule in words."""
        return gettext("Your password must not repeat your name.")


def _names_of(user: Any) -> set[str]:
    """Return the words of the user's names, folded, without very short ones."""
    if user is None:
        return set()
    names = (user.get_username(), user.first_name, user.last_name, user.email)
    words = {part.casefold() for name in names for part in (name, *name.split("@"))}
    return {word for word in words if len(word) >= _SHORTEST_NAME}
