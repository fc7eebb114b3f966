"""A header as DICOM JSON (PS3.18 annex F) that fits a column of PostgreSQL.

`pydicom.Dataset.to_json_dict` is not used: one bad value raises for the whole header,
NaN stays NaN, which JSON does not have, and its size has no limit. See
tests/patients/dicom/test_pydicom_limits.py.
"""

import json
import math
from typing import Any

from patients.dicom.values import BINARY_VRS, TEXT_VRS, Element, Elements

# Longer texts are given by their length, as binary values are.
_LONGEST_TEXT_BYTES = 64 * 1024
# Sequences with more elements than fit are not converted.
_MAX_ELEMENTS = 20_000
# Quotes, tag, colon and comma around one element.
_FRAME_CHARACTERS = 16


class _TooManyElementsError(Exception):
    """A sequence has more elements than can be stored."""


def header_json(elements: Elements, *, limit_bytes: int) -> dict[str, Any]:
    """Return the header as JSON of at most `limit_bytes`, ASCII-escaped.

    Binary values, and values that do not fit, become `{"vr": …, "length": bytes}`
    (a sequence as `{"vr": "SQ", "items": n}`). NaN and infinities become text.
    """
    converted: dict[str, tuple[Element, Any, int]] = {}
    for element in elements:
        if element.tag & 0xFFFF == 0:
            continue  # group lengths say nothing
        try:
            value = _convert(elements, element, [_MAX_ELEMENTS])
        except _TooManyElementsError:
            value = _by_length(element)
        size = len(json.dumps(value)) + _FRAME_CHARACTERS
        converted[f"{element.tag:08X}"] = (element, value, size)
    total = sum(size for _, _, size in converted.values())
    for tag in sorted(converted, key=lambda t: -converted[t][2]):
        if total + 2 <= limit_bytes:
            break
        element, _, size = converted[tag]
        value = _by_length(element)
        smaller = len(json.dumps(value)) + _FRAME_CHARACTERS
        converted[tag] = (element, value, smaller)
        total += smaller - size
    return _first_that_fit(converted, limit_bytes)


def _first_that_fit(
    converted: dict[str, tuple[Element, Any, int]], limit_bytes: int
) -> dict[str, Any]:
    """Leave out the last elements of a header that is still too large."""
    kept, total = {}, 2
    for tag, (_, value, size) in converted.items():
        total += size
        if total > limit_bytes:
            break
        kept[tag] = value
    return kept


def _convert(elements: Elements, element: Element, budget: list[int]) -> dict[str, Any]:
    budget[0] -= 1
    if budget[0] < 0:
        raise _TooManyElementsError
    vr = elements.vr(element)
    if vr == "SQ":
        items = [_item(item, budget) for item in element.items]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if vr in BINARY_VRS or element.length > _LONGEST_TEXT_BYTES:
        return _by_length(element, vr)
    if vr == "AT":
        values: list[Any] = elements.tags(element.tag)
    elif vr == "PN":
        values = [_name(text) for text in elements.texts(element.tag)]
    elif vr in TEXT_VRS and vr not in ("DS", "IS"):
        values = [text or None for text in elements.texts(element.tag)]
    else:
        values = _numbers(elements, element)
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _item(item: Elements, budget: list[int]) -> dict[str, Any]:
    return {
        f"{element.tag:08X}": _convert(item, element, budget)
        for element in item
        if element.tag & 0xFFFF
    }


def _numbers(elements: Elements, element: Element) -> list[Any]:
    """Return numbers, and as text what is not a finite number."""
    numbers = elements.numbers(element.tag)
    texts = elements.texts(element.tag) or [str(number) for number in numbers]
    return [
        number if math.isfinite(number) else text or None
        for number, text in zip(numbers, texts, strict=True)
    ]


def _name(text: str) -> dict[str, str] | None:
    groups = zip(
        ("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False
    )
    return {name: group for name, group in groups if group.strip("^ ")} or None


def _by_length(element: Element, vr: str = "") -> dict[str, Any]:
    if element.vr == "SQ":
        return {"vr": "SQ", "items": len(element.items)}
    return {"vr": vr or element.vr.partition(" ")[0], "length": element.length}
