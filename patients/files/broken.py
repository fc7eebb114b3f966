"""Refusals of files that end too early or contradict themselves."""

from typing import NoReturn

from accounts.errors import InvalidInput


def truncated(detail: str = "") -> NoReturn:
    """Refuse a file that ends too early."""
    raise InvalidInput(
        "The file ends too early: a part of it is missing"
        + (f" ({detail})." if detail else ".")
        + " Send it again from its source.",
        reason_code="truncated_file",
    )


def damaged(detail: str) -> NoReturn:
    """Refuse a file whose parts contradict each other."""
    raise InvalidInput(f"The file is damaged: {detail}.", reason_code="damaged_file")
