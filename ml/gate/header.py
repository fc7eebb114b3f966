"""Rules of a model card, applied to the DICOM header and the pixels of an image.

Only clear cases are rejected: an animal, another modality or body part, a lateral
view, an age that the card excludes, colour, a blank image, several frames.
`ml.gate.out_of_distribution` checks next what the network itself sees. Nothing here
was tuned on phantoms.
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

from ml.cards.ages import ages_text, is_measured_at
from ml.cards.card import Card
from ml.errors import ImageRejected
from ml.labels import NOTHING_FOUND_LABELS
from ml.pixels import frame_count
from ml.preprocessing import percentiles, reduce
from ml.views import is_lateral, view_of

DESCRIPTION_KEYWORDS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "PerformedProcedureStepDescription",
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

# Patient Species Description (0010,2201) of a person (PS3.16 CID 7454).
HUMAN = re.compile(r"homo sapiens|humans?|person", re.IGNORECASE)

# Words of a study or series description that name an animal; "cat" would be a scan.
ANIMAL = re.compile(
    r"\b(canine|feline|equine|bovine|porcine|ovine|murine|avian|dog|veterinary)\b"
    r"(?! (?:tooth|teeth|fossa))",
    re.IGNORECASE,
)

BLANK_THUMBNAIL = 64
# Share of the full range between the 1st and 99th percentile of the thumbnail. Below
# it the image is a uniform area, or noise that averages out.
BLANK_CONTRAST = 0.02


@dataclass(frozen=True)
class ImageFacts:
    """Header values that decide whether a model may score the image."""

    modality: str
    body_part_examined: str
    view_position: str
    descriptions: tuple[str, ...]
    photometric_interpretation: str
    frames: int
    picture: bool
    colour: bool | None = None
    age_years: float | None = None
    species: str = ""


def facts_of_dataset(dataset: Dataset, *, picture: bool = False) -> ImageFacts:
    """Collect the facts from a header.

    Args:
        dataset: The header; pixels are not read.
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
        species=_species(dataset),
    )


def check_header(card: Card, facts: ImageFacts) -> ImageRejected | None:
    """Return why the model may not score an image with these facts, else None."""
    if facts.frames > 1:
        return ImageRejected(
            "The object has %(frames)d frames; the model reads single images.",
            params={"frames": facts.frames},
            reason_code="multi_frame",
        )
    if facts.colour:
        return _colour_rejection()
    if facts.species:
        return ImageRejected(
            "The patient is an animal (%(species)s); the model reads images of people.",
            params={"species": facts.species},
            reason_code="wrong_species",
        )
    if rejection := _check_age(card, facts.age_years):
        return rejection
    if facts.picture:
        # A picture has no such header: it is taken to be what the model reads.
        return None
    return (
        _check_modality(card, facts)
        or _check_body_part(card, facts)
        or _check_view(card, facts)
    )


def check_image(display: np.ndarray, *, colour: bool) -> ImageRejected | None:
    """Return why the pixels may not be scored, else None.

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
            "The image is blank: it has almost no contrast.",
            reason_code="blank_image",
        )
    return None


def _colour_rejection() -> ImageRejected:
    return ImageRejected(
        "The image is in colour; the model reads greyscale images.",
        reason_code="colour_image",
    )


def _check_modality(card: Card, facts: ImageFacts) -> ImageRejected | None:
    if facts.modality in card.modalities:
        return None
    modalities = ", ".join(card.modalities)
    if not facts.modality:
        return ImageRejected(
            "The modality is not given; the model reads %(modalities)s.",
            params={"modalities": modalities},
            reason_code="wrong_modality",
        )
    return ImageRejected(
        "The modality is %(modality)s; the model reads %(modalities)s.",
        params={"modality": facts.modality, "modalities": modalities},
        reason_code="wrong_modality",
    )


def _check_body_part(card: Card, facts: ImageFacts) -> ImageRejected | None:
    body_part = facts.body_part_examined
    body_parts = ", ".join(card.body_parts)
    if body_part:
        # Devices add to it: "CHEST_PA", "CHEST, PORTABLE".
        if set(re.split(r"[^A-Z]+", body_part)) & set(card.body_parts):
            return None
        return ImageRejected(
            "The body part is %(body_part)s; the model reads %(body_parts)s.",
            params={"body_part": body_part, "body_parts": body_parts},
            reason_code="wrong_body_part",
        )
    if not _names_another_part(card, " ".join(facts.descriptions)):
        return None
    return ImageRejected(
        "The description names another body part; the model reads %(body_parts)s.",
        params={"body_parts": body_parts},
        reason_code="wrong_body_part",
    )


def _names_another_part(card: Card, words: str) -> bool:
    """Tell whether descriptions name a body part, but none of the card's."""
    card_parts = "|".join(re.escape(part.lower()) for part in card.body_parts)
    if re.search(rf"\b({card_parts})\b", words):
        return False
    is_chest = bool(CHEST_WORDS.search(words))
    if "CHEST" in card.body_parts:
        return not is_chest and bool(OTHER_PARTS.search(words))
    return is_chest or bool(OTHER_PARTS.search(words))


def _check_age(card: Card, age_years: float | None) -> ImageRejected | None:
    """Reject an age that the card excludes, or at which no finding was measured."""
    if age_years is None:
        return None
    if card.age_range and not is_measured_at((card.age_range,), age_years):
        youngest, oldest = card.age_range
        return ImageRejected(
            "The patient was %(age_years)d years old; the model reads images of "
            "patients aged %(youngest)s to %(oldest)s years.",
            params={
                "age_years": int(age_years),
                "youngest": f"{youngest:g}",
                "oldest": f"{oldest:g}",
            },
            reason_code="wrong_age",
        )
    findings = [
        card.label_ages.get(name, ())
        for name in card.label_names
        if name not in NOTHING_FOUND_LABELS
    ]
    if not findings or any(is_measured_at(ages, age_years) for ages in findings):
        return None
    return ImageRejected(
        "The patient was %(age_years)d years old; the findings of the model were "
        "measured at these ages: %(ages)s years.",
        params={
            "age_years": int(age_years),
            "ages": ages_text(sorted({each for ages in findings for each in ages})),
        },
        reason_code="wrong_age",
    )


def _check_view(card: Card, facts: ImageFacts) -> ImageRejected | None:
    if not card.views:
        # Slices, for example, have no projection.
        return None
    view = facts.view_position
    if not (is_lateral(view) if view else any(map(is_lateral, facts.descriptions))):
        return None
    return ImageRejected(
        "The view is lateral; the model reads these views: %(views)s.",
        params={"views": ", ".join(card.views)},
        reason_code="lateral_view",
    )


def _view(dataset: Dataset) -> str:
    """Return the view that the header names without its descriptions."""
    orientation = dataset.get("PatientOrientation")
    # A broken header may hold any type here.
    is_given = isinstance(orientation, str | MultiValue) and len(orientation) > 0
    codes = dataset.get("ViewCodeSequence")
    return view_of(
        view_position=_text(dataset, "ViewPosition"),
        codes=[
            (_text(item, "CodeValue"), _text(item, "CodeMeaning"))
            for item in (codes if isinstance(codes, Sequence) else ())
        ],
        row_direction=str(orientation[0]) if is_given else "",
    )


def _descriptions(dataset: Dataset) -> Iterable[str]:
    for keyword in DESCRIPTION_KEYWORDS:
        text = _text(dataset, keyword).lower()
        if text:
            yield text


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _species(dataset: Dataset) -> str:
    """Return the species of an animal (PS3.3 C.7.1.1), "" for a person."""
    species = _text(dataset, "PatientSpeciesDescription")
    if HUMAN.fullmatch(species):
        return ""
    stated = species or _text(dataset, "PatientBreedDescription")
    named = (ANIMAL.search(_text(dataset, keyword)) for keyword in DESCRIPTION_KEYWORDS)
    return stated or next((match[0] for match in named if match), "")


def _age_years(dataset: Dataset) -> float | None:
    """Return the age at the examination: PatientAge, else from the dates, else None."""
    age = AGE_STRING.fullmatch(_text(dataset, "PatientAge").upper())
    if age:
        return int(age[1]) / AGE_UNITS_A_YEAR[age[2]]
    study_date = _date(dataset, "StudyDate")
    return age_between(_date(dataset, "PatientBirthDate"), study_date)


def age_between(birth_date: date | None, study_date: date | None) -> float | None:
    """Return the years from birth to study; None if a date is missing or impossible."""
    if birth_date is None or study_date is None or study_date < birth_date:
        return None
    return (study_date - birth_date).days / DAYS_A_YEAR


def _date(dataset: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(_text(dataset, keyword), "%Y%m%d").date()  # noqa: DTZ007 - a day
    except ValueError:
        return None
