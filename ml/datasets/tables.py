"""CSV tables of labels, with column names in any case and punctuation."""

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
    """Return the rows of a table as dictionaries by plain column name.

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
    """Reduce a column name to lower-case letters and digits."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def plain_names(names: Iterable[str]) -> set[str]:
    """Return the plain form of each name."""
    return {plain_name(name) for name in names}


def labels_of(text: str) -> tuple[str, ...]:
    """Split a text of labels joined by |."""
    return tuple(part.strip() for part in text.split("|") if part.strip())


def first_few(names: Sequence[str], *, count: int = 5) -> str:
    """Join the first names, with an ellipsis if there are more."""
    more = ", …" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _unreadable(table: Path, error: Exception) -> TrainingError:
    return TrainingError(
        "The table %(table)s cannot be read: %(error)s.",
        params={"table": str(table), "error": str(error)},
    )
