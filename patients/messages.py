"""The sentences of the archive that are stored as a code and its parameters."""

from __future__ import annotations

from collections.abc import Mapping

from accounts.messages import Message

MESSAGES: dict[str, Message] = {}


def reason_text(code: str, params: Mapping[str, object], stored: str) -> str:
    """Return a stored reason as a sentence in the language of the reader.

    Args:
        code: The code of a message, or "".
        params: Values of its placeholders.
        stored: The sentence itself, where a former version stored that.
    """
    message = MESSAGES.get(code)
    return message.format(params) if message else stored
