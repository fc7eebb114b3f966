"""Invalid input of a REST request as an error of the application."""

from typing import Any

from rest_framework.exceptions import ValidationError

from accounts.errors import InvalidInput


def invalid_input(error: ValidationError) -> InvalidInput:
    """Return the error of a serializer, with the errors of each field."""
    detail = error.detail
    if isinstance(detail, dict):
        fields = {name: sentences(errors) for name, errors in detail.items()}
        named = "; ".join(f"{name}: {' '.join(s)}" for name, s in fields.items())
        return InvalidInput(named, reason_code="invalid_fields", fields=fields)
    return InvalidInput(" ".join(sentences(detail)))


def sentences(errors: Any) -> list[str]:
    """Return the sentences of nested error details in one list."""
    if isinstance(errors, dict):
        return [f"{k}: {s}" for k, v in errors.items() for s in sentences(v)]
    if isinstance(errors, list | tuple):
        return [sentence for part in errors for sentence in sentences(part)]
    return [str(errors)]
