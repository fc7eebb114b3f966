"""The view of a radiograph: one rule for archive, worklist and gate.

A header names the view in View Position, in coded views, in descriptions or by the
direction of its rows (PS3.3 C.8.11.5, C.7.6.1.1.1; PS3.16 CID 4010). Imports nothing
of this library, so that the archive can use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LEFT_LATERAL, RIGHT_LATERAL, LATERAL = "LL", "RL", "LATERAL"

# SNOMED CT and its former SNOMED RT codes in PS3.16 CID 4010.
VIEWS_BY_CODE = {
    **dict.fromkeys(("272479007", "R-40888", "R-10214"), "PA"),
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("399173006", "R-10236"), LEFT_LATERAL),
    **dict.fromkeys(("399198007", "R-10232"), RIGHT_LATERAL),
    **dict.fromkeys(("399067008", "R-102CD"), LATERAL),
    **dict.fromkeys(("399352003", "R-10228", "399260004", "R-10224"), LATERAL),
    **dict.fromkeys(("30730003", "G-A145"), LATERAL),
}

# Lying on the side, but seen from the front: no lateral view.
_DECUBITUS = re.compile(r"\b(DECUB\w*|LLD|RLD)\b")
_LEFT = re.compile(r"\b(L(EFT|T)? ?LAT(ERAL\w*)?|LL)\b")
_RIGHT = re.compile(r"\b(R(IGHT|T)? ?LAT(ERAL\w*)?|RL)\b")
_LATERAL = re.compile(
    r"\b(LAT|LATERAL(IS|E|EN?)?|LATERO LATERAL\w*|X ?TABLE|CROSS ?TABLE|SEITLICH\w*"
    r"|SEITL|PROFIL[EO]?|PERFIL|SAGITTAL)\b"
)
_PA = re.compile(r"\b(PA|P A|POSTERO ?ANTERIOR|POSTERIOR ANTERIOR)\b")
_AP = re.compile(r"\b(AP|A P|ANTERO ?POSTERIOR|ANTERIOR POSTERIOR)\b")
_FRONTAL = re.compile(r"\b(FRONTAL|SUPINE|BEDSIDE)\b")
_SEPARATORS = re.compile(r"[\W_]+")


def view_named_in(text: str) -> str:
    """Return the one view that a text names: PA, AP, LL, RL, LATERAL, else "".

    A text that names several, such as `CHEST PA + LAT`, describes several images and
    says nothing of one of them.
    """
    words = _SEPARATORS.sub(" ", text.upper()).strip()
    if _DECUBITUS.search(words):
        return ""
    views = [
        view for view, named in ((("PA"), _PA), (("AP"), _AP)) if named.search(words)
    ]
    if _LEFT.search(words):
        views.append(LEFT_LATERAL)
    if _RIGHT.search(words):
        views.append(RIGHT_LATERAL)
    if _LATERAL.search(words) and not {LEFT_LATERAL, RIGHT_LATERAL} & set(views):
        views.append(LATERAL)
    if _FRONTAL.search(words) and LATERAL in views:
        return ""
    return views[0] if len(views) == 1 else ""


def is_lateral(view: str) -> bool:
    """Say whether a view, as a header or `view_of` names it, is seen from the side."""
    return view_named_in(view) in (LEFT_LATERAL, RIGHT_LATERAL, LATERAL)


def view_of(
    *,
    view_position: str,
    codes: Iterable[tuple[str, str]] = (),
    descriptions: Iterable[str] = (),
    row_direction: str = "",
) -> str:
    """Return the view of an image, "" where the header does not say it.

    Args:
        view_position: View Position (0018,5101). It is returned as it is.
        codes: (Code Value, Code Meaning) of View Code Sequence (0054,0220).
        descriptions: Descriptions of series and protocol, the best first.
        row_direction: The first value of Patient Orientation (0020,0020). Rows of a
            frontal image run left or right; others belong to a view from the side.
    """
    if view_position.strip():
        return view_position.strip().upper()
    for value, meaning in codes:
        if view := VIEWS_BY_CODE.get(value.strip().upper()) or view_named_in(meaning):
            return view
    if row_direction[:1].upper() in ("A", "P"):
        return LATERAL
    for description in descriptions:
        if view := view_named_in(description):
            return view
    return ""
