"""The body part and the view of an image, from several attributes."""

import re

from patients.dicom import tags
from patients.dicom.text import one_line
from patients.dicom.values import Elements

# What a coded view or a description may call a view, in the words of PS3.3 C.8.1.
_PATTERNS = {
    "PA": re.compile(r"\b(PA|P-?A|POSTERO[- ]?ANTERIOR|POSTERIOR[- ]ANTERIOR)\b"),
    "AP": re.compile(r"\b(AP|A-?P|ANTERO[- ]?POSTERIOR|ANTERIOR[- ]POSTERIOR)\b"),
    "LL": re.compile(r"\b(LEFT LATERAL|LL|LLAT)\b"),
    "RL": re.compile(r"\b(RIGHT LATERAL|RL|RLAT)\b"),
    "LATERAL": re.compile(r"\b(LATERAL|LAT)\b"),
}


def body_part(elements: Elements) -> str:
    """Return Body Part Examined (0018,0015), else the meaning of the coded region."""
    named = one_line(elements.text(tags.BODY_PART_EXAMINED), 64).upper()
    if named:
        return named
    for item in elements.items(tags.ANATOMIC_REGION):
        meaning = one_line(item.text(tags.CODE_MEANING), 64).upper()
        if meaning:
            return meaning
    return ""


def view_position(elements: Elements) -> str:
    """Return View Position (0018,5101), else the coded view, else a description.

    A description counts only where it names exactly one view: `CHEST PA + LAT`
    describes two images.
    """
    named = one_line(elements.text(tags.VIEW_POSITION), 16).upper()
    if named:
        return named
    for item in elements.items(tags.VIEW_CODE):
        view = _only_view(item.text(tags.CODE_MEANING))
        if view:
            return view
    for tag in (tags.SERIES_DESCRIPTION, tags.PROTOCOL_NAME):
        view = _only_view(elements.text(tag))
        if view:
            return view
    return ""


def _only_view(text: str) -> str:
    text = text.upper().replace("_", " ")
    views = [view for view, pattern in _PATTERNS.items() if pattern.search(text)]
    if views in (["LL", "LATERAL"], ["RL", "LATERAL"]):
        views = views[:1]
    return views[0] if len(views) == 1 else ""
