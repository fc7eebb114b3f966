"""Tables of labels: CSV whose columns are found whatever their capitals."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ml.errors import TrainingError


def columns_of(table: Path) -> tuple[str, ...]:
    """Return the names of a table's columns.

    Raises:
        TrainingError: The table cannot be read.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            return tuple(name.strip() for name in next(csv.reader(lines), []))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(table, error) from error


def read_table(table: Path) -> list[dict[str, str]]:
    """Return the lines of a table, by the plain names of its columns.

    Raises:
        TrainingError: The table cannot be read.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            names = [plain_name(name) for name in next(reader, [])]
            return [dict(zip(names, values, strict=False)) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(table, error) from error


def plain_name(name: str) -> str:
    """Return a name in small letters and digits: SOP_InstanceUID, sopInstanceUid."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def plain_names(names: Iterable[str]) -> set[str]:
    """Return the plain form of each name."""
    return {plain_name(name) for name in names}


def labels_of(text: str) -> tuple[str, ...]:
    """Split labels that are joined by |."""
    return tuple(part.strip() for part in text.split("|") if part.strip())


def first_few(names: Sequence[str], *, count: int = 5) -> str:
    """Return the first names, and that there are more."""
    more = ", …" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _unreadable(table: Path, error: Exception) -> TrainingError:
    return TrainingError(f"The table {table} cannot be read: {error}.")
