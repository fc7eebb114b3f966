"""Sentences with a code: rows store the code and its parameters.

Each app lists its own messages in a module `messages.py`. A sentence is translated
when it is shown, never when it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise


@dataclass(frozen=True)
class Message:
    """A sentence for people with its code.

    Attributes:
        code: Unique among all messages; stored with the parameters.
        text: A lazy translation with named placeholders, as in "%(limit)d MB".
        reason_code: What happened, for programs; several messages may share one.
            If empty, the code itself.
    """

    code: str
    text: Promise | str
    reason_code: str = ""

    def format(self, params: Mapping[str, object]) -> str:
        """Return the sentence in the language of the reader."""
        return str(self.text) % params if params else str(self.text)


def reason_text(
    messages: Mapping[str, Message],
    code: str,
    params: Mapping[str, object],
    *,
    stored: str = "",
) -> str:
    """Return a stored reason as a sentence in the language of the reader.

    Args:
        messages: The messages of the app by their codes.
        code: The code of a message, or "".
        params: Values of its placeholders.
        stored: The sentence itself, where a former version stored that.
    """
    message = messages.get(code)
    return message.format(params) if message else stored
