"""The one reader of JSON bodies: small, flat, and text that a database can hold."""

import codecs
import json
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework.parsers import JSONParser
from rest_framework.utils.json import strict_constant

from accounts.errors import InvalidInput, TooLarge

DEEPEST_NESTING = 20


class StrictJSONParser(JSONParser):
    """JSON (RFC 8259) in UTF-8, with limits on size and nesting.

    NUL and unpaired surrogates (RFC 8259, 8.2) are refused: PostgreSQL and UTF-8 have
    no place for them.
    """

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> Any:
        """Return the value of a body.

        Raises:
            InvalidInput: It is not such JSON.
            TooLarge: It has more bytes than a form may have.
        """
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise TooLarge(
                _("The request is larger than %(limit)d kB."),
                params={"limit": limit // 1024},
            )
        try:
            text = content.removeprefix(codecs.BOM_UTF8).decode()
            value = json.loads(text, parse_constant=strict_constant)
            _check(value, depth=0)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                _("The request is not valid JSON."), reason_code="invalid_json"
            ) from error
        return value


def _check(value: Any, *, depth: int) -> None:
    """Check a value and all values in it.

    Raises:
        ValueError: It is nested too deeply, or has a text that cannot be stored.
    """
    if depth > DEEPEST_NESTING:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        # Raises an error for an unpaired surrogate.
        if b"\x00" in value.encode():
            raise ValueError("a text has NUL")
    elif isinstance(value, list):
        for part in value:
            _check(part, depth=depth + 1)
    elif isinstance(value, dict):
        for name, part in value.items():
            _check(name, depth=depth)
            _check(part, depth=depth + 1)
