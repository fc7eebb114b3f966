"""The one reader of JSON bodies: small, flat, and text that a database can hold."""

import codecs
import json
import re
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework.parsers import JSONParser
from rest_framework.utils.json import strict_constant

from accounts.errors import InvalidInput, TooLarge

DEEPEST_JSON = 32
# Strings, which may hold brackets, and what nests or separates values.
_JSON_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)


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
        check_json(content)
        try:
            text = content.removeprefix(codecs.BOM_UTF8).decode()
            value = json.loads(text, parse_constant=strict_constant)
            _check_texts(value)
        except ValueError as error:
            raise InvalidInput(
                _("The request is not valid JSON."), reason_code="invalid_json"
            ) from error
        return value


def check_json(document: bytes) -> None:
    """Refuse a JSON document that is nested too deep or has too many values.

    Parsers recurse, so this counts brackets before one of them reads it.

    Raises:
        InvalidInput: nested_too_deep or too_many_values.
    """
    depth = values = 0
    for token in _JSON_TOKENS.finditer(document):
        start = document[token.start()]
        if start in b"[{":
            depth += 1
        elif start in b"]}":
            depth -= 1
        elif start in b",":
            values += 1
        if depth > DEEPEST_JSON:
            raise InvalidInput(
                _("The JSON document is nested deeper than %(limit)d levels."),
                params={"limit": DEEPEST_JSON},
                reason_code="nested_too_deep",
            )
    if values > settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:
        raise InvalidInput(
            _("The JSON document has more than %(limit)d values."),
            params={"limit": settings.DATA_UPLOAD_MAX_NUMBER_FIELDS},
            reason_code="too_many_values",
        )


def _check_texts(value: Any) -> None:
    """Check all texts in a value.

    Raises:
        ValueError: A text cannot be stored.
    """
    if isinstance(value, str):
        # Raises an error for an unpaired surrogate.
        if b"\x00" in value.encode():
            raise ValueError("a text has NUL")
    elif isinstance(value, list):
        for part in value:
            _check_texts(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            _check_texts(name)
            _check_texts(part)
