"""A made-up language: every translation is its text in brackets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
from django.utils import translation

OPEN, CLOSE = "⟦", "⟧"
_INNERMOST = f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}"


@contextlib.contextmanager
def bracketed() -> Iterator[None]:
    """Put every translation into brackets."""

    def gettext(message: str) -> str:
        return f"{OPEN}{message}{CLOSE}" if message else ""

    def ngettext(singular: str, plural: str, number: int) -> str:
        return gettext(singular if number == 1 else plural)

    with pytest.MonkeyPatch.context() as patch:
        functions: dict[str, Callable[..., str]] = {
            "gettext": gettext,
            "ngettext": ngettext,
            "pgettext": lambda context, message: gettext(message),
            "npgettext": lambda context, *message: ngettext(*message),
        }
        for name, function in functions.items():
            patch.setattr(translation._trans, name, function)
        yield


def outside_brackets(text: str) -> str:
    """Return what of a text stands outside of brackets."""
    while re.search(_INNERMOST, text):
        text = re.sub(_INNERMOST, " ", text)
    return text
