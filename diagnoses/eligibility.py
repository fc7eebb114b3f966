"""Which active models may read a stored image, judged by its header alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from diagnoses.governance.versions import (
    active_models,
    card_of,
    requested_model,
    shadow_models,
)
from diagnoses.models import ModelVersion
from ml.errors import ImageRejected
from ml.gate.header import (
    DESCRIPTION_KEYWORDS,
    ImageFacts,
    age_between,
    check_header,
    facts_of_dataset,
)
from patients.models import Instance

_KEYWORDS = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientOrientation",
    "PhotometricInterpretation",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    *DESCRIPTION_KEYWORDS,
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """One model's answer to an image; `rejection` is None where it reads the image.

    `shadow`: readers are told nothing of the run.
    """

    model_version: ModelVersion | None
    rejection: ImageRejected | None = None
    shadow: bool = False


def facts_of(instance: Instance) -> ImageFacts:
    """Return the facts of a stored image that decide whether a model may read it."""
    facts = facts_of_dataset(_dataset_of(instance.header), picture=instance.picture)
    age_years = facts.age_years
    if age_years is None:
        study = instance.series.study
        age_years = age_between(study.patient.birth_date, study.study_date)
    return replace(
        facts,
        colour=instance.colour,
        frames=instance.frames or 0,
        age_years=age_years,
    )


def _dataset_of(header: Mapping[str, Any]) -> Dataset:
    """Return what the rules read of a header, and of that what is what it should be.

    A header holds anything: a number that is none, a text where a sequence belongs.
    The archive keeps it, and a rule reads it as not given.
    """
    known = {tag: header[tag] for tag in map(_json_tag, _KEYWORDS) if tag in header}
    views, meaning = _json_tag("ViewCodeSequence"), _json_tag("CodeMeaning")
    items = header.get(views, {}).get("Value", ())
    named = [
        item[meaning] for item in items if isinstance(item, dict) and meaning in item
    ]
    dataset = Dataset()
    for tag, element in known.items():
        dataset.update(_loaded(tag, element))
    dataset.ViewCodeSequence = [_loaded(meaning, element) for element in named]
    return dataset


def _json_tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


def _loaded(tag: str, element: Mapping[str, Any]) -> Dataset:
    """Return a dataset of one element of DICOM JSON, empty where it is not valid."""
    try:
        return Dataset.from_json({tag: element})
    except (ValueError, TypeError, AttributeError) as error:
        logger.info("Element %s of a header says nothing: %s", tag, type(error))
        return Dataset()


def judge(instance: Instance, *, requested: str = "") -> list[Verdict]:
    """Ask the active models, or only the requested one, whether they read an image.

    A picture has no modality: it is taken for PICTURE_MODALITY and PICTURE_BODY_PART,
    and for what the requested model reads where one is named. Models in shadow read
    every image that fits, whatever was requested.

    Args:
        instance: The stored image.
        requested: A model's name, or "" for all that are active.

    Returns:
        Every active model that fits, the default first; if none does, one verdict with
        the rejection: of the requested model, or without a model. After these, every
        model in shadow that fits.

    Raises:
        InvalidInput: No active model has the requested name.
    """
    chosen = requested_model(requested) if requested else None
    if not instance.rows:
        rejection = ImageRejected(
            "The object has no pixels that a model could read.",
            reason_code="no_pixels",
        )
        return [Verdict(chosen, rejection)]
    facts = _as_taken(facts_of(instance), chosen)
    if chosen is not None:
        verdicts = [Verdict(chosen, check_header(card_of(chosen), facts))]
    else:
        verdicts = _judge_by_all(active_models(), facts)
    return [*verdicts, *_in_shadow(facts)]


def _as_taken(facts: ImageFacts, chosen: ModelVersion | None) -> ImageFacts:
    """Return what an image is taken for: a picture says nothing of itself."""
    if not facts.picture:
        return facts
    modality, body_part = settings.PICTURE_MODALITY, settings.PICTURE_BODY_PART
    if chosen is not None:
        card = card_of(chosen)
        modality, body_part = card.modalities[0], next(iter(card.body_parts), "")
    return replace(
        facts, picture=False, modality=modality, body_part_examined=body_part
    )


def _judge_by_all(models: Iterable[ModelVersion], facts: ImageFacts) -> list[Verdict]:
    verdicts = [Verdict(model, check_header(card_of(model), facts)) for model in models]
    fitting = [verdict for verdict in verdicts if verdict.rejection is None]
    if fitting:
        return fitting
    rejections = [verdict.rejection for verdict in verdicts if verdict.rejection]
    # Whoever reads this modality says more of the image than who does not; of those,
    # and where there is none, the default model speaks for all: it stands first.
    rejections.sort(key=lambda said: said.reason_code == "wrong_modality")
    nobody = ImageRejected(
        "No model is active, so nothing reads this image.", reason_code="no_model"
    )
    return [Verdict(None, next(iter(rejections), nobody))]


def _in_shadow(facts: ImageFacts) -> list[Verdict]:
    return [
        Verdict(model, shadow=True)
        for model in shadow_models()
        if check_header(card_of(model), facts) is None
    ]
