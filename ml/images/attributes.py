"""Numbers of a header: read where they have one meaning, refused otherwise.

pydicom converts a value when it is asked for, and raises or passes the text on where
it cannot. Here the text itself is read, so that a window or a slope is never replaced
by a default.
"""

from __future__ import annotations

import re
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from ml.errors import ImageAttributeError

# PS3.5 table 6.2-1: DS is a fixed or floating point number, IS an integer.
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# A comma before exactly three digits may separate thousands.
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
PADDING = " \0\t\r\n"


def has_value(dataset: Dataset, keyword: str) -> bool:
    """Tell whether an attribute is there and not empty; its value is not converted."""
    tag = Tag(keyword)
    element = dataset.get_item(tag) if tag in dataset else None
    return element is not None and element.value not in (None, b"", "")


def decimal(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a Decimal String (DS); None where there is none.

    Leading and trailing blanks, more digits than the 16 allowed, and a comma as the
    decimal sign are accepted.

    Raises:
        ImageAttributeError: the value has no meaning, or two.
    """
    texts = _texts(dataset, keyword)
    if not texts or texts[0] is None:
        return None
    return _decimal(texts[0], keyword)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of an integer attribute; None where there is none.

    Raises:
        ImageAttributeError: It has no single meaning.
    """
    number = decimal(dataset, keyword)
    if number is None:
        return None
    if number != int(number):
        raise _invalid(keyword)
    return int(number)


def _decimal(text: str, keyword: str) -> float:
    if THOUSANDS.fullmatch(text):
        raise _invalid(keyword)
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    if not DECIMAL.fullmatch(text):
        raise _invalid(keyword)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _invalid(keyword)
    return number


def _texts(dataset: Dataset, keyword: str) -> list[str | None]:
    """Return the values as text without padding; None for an empty one."""
    tag = Tag(keyword)
    if tag not in dataset:
        return []
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement) and _is_text(element):
        parts: list[Any] = (element.value or b"").decode("latin-1").split("\\")
    else:
        value = dataset[tag].value
        parts = list(value) if isinstance(value, MultiValue) else [value]
    stripped = [
        None if part is None else str(_original(part)).strip(PADDING) for part in parts
    ]
    return [text or None for text in stripped]


def _is_text(element: RawDataElement) -> bool:
    """Say whether a value is written as text; UN and Implicit VR do not say so."""
    vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(element.tag)
    return vr in ("DS", "IS", "LO", "SH", "CS", "ST", "LT", "UT")


def _original(part: Any) -> Any:
    """Return the text that a DS or IS was read from, where pydicom kept it."""
    return getattr(part, "original_string", part)


def _invalid(keyword: str) -> ImageAttributeError:
    return ImageAttributeError(
        "The value of %(attribute)s cannot be read as a number.",
        params={"attribute": keyword},
    )
