"""Which images a model may score, by what the header and the picture say.

Only clear cases are turned away: another modality or body part, a view from the
side, an age that the card excludes, colour, an empty picture, several frames. What the
network itself sees is asked next, in `ml.gate.out_of_distribution`. Nothing here was
tuned on phantoms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

import cv2
import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from ml.cards.card import Card
from ml.errors import ImageRejected
from ml.pixels import frame_count
from ml.preprocessing import percentiles, reduce

DESCRIPTION_KEYWORDS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProcedureStepDescription",
)

# LLD and RLD are not among them: lying on the side, but seen from the front.
LATERAL_VIEWS = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"})
SIDEWAYS_WORDS = re.compile(r"\b(lateral|lat|latero-lateral|ll|seitlich|profil)\b")
FRONTAL_WORDS = re.compile(
    r"\b(pa|ap|p\.a\.|a\.p\.|postero-?anterior|antero-?posterior|frontal|decubitus"
    r"|supine|bedside)\b"
)
# Words that name another part of the body where BodyPartExamined is empty.
OTHER_PARTS = re.compile(
    r"\b(abdomen|pelvis|hip|femur|knee|tibia|fibula|ankle|foot|toe|hand|finger|wrist"
    r"|forearm|elbow|humerus|shoulder|clavicle|skull|head|brain|face|sinus|orbit"
    r"|mandible|teeth|neck|spine|[clt]-spine|extremity|breast|mammo\w*)\b"
)
CHEST_WORDS = re.compile(r"\b(chest|thorax|thoracic|lungs?|cxr|rib\s?cage|ribs?)\b")

# PS3.5 6.2, AS: 018M is an age of 18 months.
AGE_STRING = re.compile(r"(\d{3})([DWMY])")
DAYS_A_YEAR = 365.25
AGE_UNITS_A_YEAR = {"D": DAYS_A_YEAR, "W": DAYS_A_YEAR / 7, "M": 12.0, "Y": 1.0}

BLANK_THUMBNAIL = 64
# Less contrast than this, between the 1st and 99th percentile of the thumbnail, shows
# nothing: a plain sheet, or noise that averages out.
BLANK_CONTRAST = 0.02


@dataclass(frozen=True)
class ImageFacts:
    """What the header says that decides whether a model may score the image."""

    modality: str
    body_part_examined: str
    view_position: str
    descriptions: tuple[str, ...]
    photometric_interpretation: str
    frames: int
    picture: bool
    colour: bool | None = None
    age_years: float | None = None


def facts_of_dataset(dataset: Dataset, *, picture: bool = False) -> ImageFacts:
    """Read the facts of a header.

    Args:
        dataset: The header; pixels are not looked at.
        picture: Whether it wraps a picture, which has no modality of its own.
    """
    return ImageFacts(
        modality=_text(dataset, "Modality").upper(),
        body_part_examined=_text(dataset, "BodyPartExamined").upper(),
        view_position=_view(dataset),
        descriptions=tuple(_descriptions(dataset)),
        photometric_interpretation=_text(dataset, "PhotometricInterpretation"),
        frames=frame_count(dataset),
        picture=picture,
        age_years=_age_years(dataset),
    )


def check_header(card: Card, facts: ImageFacts) -> ImageRejected | None:
    """Return why this model may not score an image with these facts, or None."""
    if facts.frames > 1:
        return ImageRejected(
            f"The object has {facts.frames} frames; the model reads single images.",
            reason_code="multi_frame",
        )
    if facts.colour:
        return _colour_rejection()
    if rejection := _check_age(card, facts.age_years):
        return rejection
    if facts.picture:
        # A picture says nothing of itself: it is taken for what the model reads.
        return None
    if facts.modality not in card.modalities:
        return ImageRejected(
            f"The modality is {facts.modality or 'not given'}; the model reads "
            f"{', '.join(card.modalities)}.",
            reason_code="wrong_modality",
        )
    return _check_body_part(card, facts) or _check_view(card, facts)


def check_image(display: np.ndarray, *, colour: bool) -> ImageRejected | None:
    """Return why an image may not be scored by what it shows, or None.

    Args:
        display: uint16 (H, W).
        colour: Whether the stored pixels show colour.
    """
    if colour:
        return _colour_rejection()
    shape = (BLANK_THUMBNAIL, BLANK_THUMBNAIL)
    small, _ = reduce(display, side=2 * BLANK_THUMBNAIL)
    thumbnail = cv2.resize(small, shape, interpolation=cv2.INTER_AREA)
    values = thumbnail.astype(np.float32).ravel()
    low, high = percentiles(values, (1.0, 99.0))
    if high - low < BLANK_CONTRAST * 65535:
        return ImageRejected(
            "The image is blank: it has next to no contrast.",
            reason_code="blank_image",
        )
    return None


def _colour_rejection() -> ImageRejected:
    return ImageRejected(
        "The image is in colour; the model reads grey images.",
        reason_code="colour_image",
    )


def _check_body_part(card: Card, facts: ImageFacts) -> ImageRejected | None:
    part = facts.body_part_examined
    if part:
        # Devices add to it: "CHEST_PA", "CHEST, PORTABLE".
        fits = bool(set(re.split(r"[^A-Z]+", part)) & set(card.body_parts))
    else:
        fits = not _names_another_part(card, " ".join(facts.descriptions))
        part = "not given, but the description names another"
    if fits:
        return None
    return ImageRejected(
        f"The body part is {part}; the model reads {', '.join(card.body_parts)}.",
        reason_code="wrong_body_part",
    )


def _names_another_part(card: Card, words: str) -> bool:
    """Say whether descriptions name a part of the body, and none of the card."""
    own = "|".join(re.escape(part.lower()) for part in card.body_parts)
    if re.search(rf"\b({own})\b", words):
        return False
    is_chest = bool(CHEST_WORDS.search(words))
    if "CHEST" in card.body_parts:
        return not is_chest and bool(OTHER_PARTS.search(words))
    return is_chest or bool(OTHER_PARTS.search(words))


def _check_age(card: Card, age_years: float | None) -> ImageRejected | None:
    """Refuse an age that is known and that the card excludes."""
    if card.age_range is None or age_years is None:
        return None
    youngest, oldest = card.age_range
    # A person of 17 is 17 until the next birthday.
    if youngest <= age_years < oldest + 1:
        return None
    return ImageRejected(
        f"The patient was {age_years:.0f} years old; the model reads images of "
        f"{youngest:g} to {oldest:g} years.",
        reason_code="wrong_age",
    )


def _check_view(card: Card, facts: ImageFacts) -> ImageRejected | None:
    if not card.views:
        # Slices, for instance, have no view that a radiograph has.
        return None
    view = facts.view_position
    if view:
        sideways = view in LATERAL_VIEWS or view.startswith(("LATERAL", "LL ", "RL "))
    else:
        sideways = any(
            SIDEWAYS_WORDS.search(text) and not FRONTAL_WORDS.search(text)
            for text in facts.descriptions
        )
    if not sideways:
        return None
    return ImageRejected(
        f"The view is lateral; the model reads {' and '.join(card.views)} images.",
        reason_code="lateral_view",
    )


def _view(dataset: Dataset) -> str:
    """Return the view: as given, else sideways where PatientOrientation says so.

    PS3.3 C.7.6.1.1.1: the rows of a frontal image run left or right; rows that run
    towards the front or the back belong to a view from the side.
    """
    view = _text(dataset, "ViewPosition").upper()
    orientation = dataset.get("PatientOrientation")
    # Whatever else a broken header has there says nothing of the view.
    given = isinstance(orientation, str | MultiValue) and len(orientation) > 0
    first = str(orientation[0]) if given else ""
    if not view and first[:1] in ("A", "P"):
        return "LATERAL"
    return view


def _descriptions(dataset: Dataset) -> Iterable[str]:
    for keyword in DESCRIPTION_KEYWORDS:
        text = _text(dataset, keyword).lower()
        if text:
            yield text
    codes = dataset.get("ViewCodeSequence")
    for item in codes if isinstance(codes, Sequence) else ():
        text = _text(item, "CodeMeaning").lower()
        if text:
            yield text


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _age_years(dataset: Dataset) -> float | None:
    """Return the age at the examination as the header says it, else None."""
    found = AGE_STRING.fullmatch(_text(dataset, "PatientAge").upper())
    if found:
        return int(found[1]) / AGE_UNITS_A_YEAR[found[2]]
    taken = _date(dataset, "StudyDate")
    return age_between(_date(dataset, "PatientBirthDate"), taken)


def age_between(birth_date: date | None, taken: date | None) -> float | None:
    """Return the years between two days; None where they are not in this order."""
    if birth_date is None or taken is None or taken < birth_date:
        return None
    return (taken - birth_date).days / DAYS_A_YEAR


def _date(dataset: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(_text(dataset, keyword), "%Y%m%d").date()  # noqa: DTZ007 - a day
    except ValueError:
        return None
