"""Decide by its header which active models may read a stored image."""

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
    "PatientSpeciesDescription",
    "PatientBreedDescription",
    "PatientBirthDate",
    "StudyDate",
    *DESCRIPTION_KEYWORDS,
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Whether a model may read an image; `rejection` is None if it may.

    `shadow`: readers do not see the run.
    """

    model_version: ModelVersion | None
    rejection: ImageRejected | None = None
    shadow: bool = False


def facts_of(instance: Instance) -> ImageFacts:
    """Return the facts of a stored image that decide on its eligibility."""
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
    """Return the valid elements of a header that the rules use.

    A header may contain invalid values, such as a text instead of a sequence. The
    archive keeps them, and the rules treat them as not given.
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
    """Return a dataset of one element of DICOM JSON, empty if it is invalid."""
    try:
        return Dataset.from_json({tag: element})
    except (ValueError, TypeError, AttributeError) as error:
        logger.info("Element %s of a header is invalid: %s", tag, type(error))
        return Dataset()


def judge(instance: Instance, *, requested: str = "") -> list[Verdict]:
    """Check an image against the active models, or against the requested one.

    A picture has no modality: it gets PICTURE_MODALITY and PICTURE_BODY_PART, or those
    of the requested model. Models in shadow read every eligible image, whatever was
    requested.

    Args:
        instance: The stored image.
        requested: A model's name, or "" for all that are active.

    Returns:
        A verdict for each eligible active model, the default first. If none is, one
        verdict with the rejection, of the requested model or without a model. Then a
        verdict for each eligible model in shadow.

    Raises:
        InvalidInput: No active model has the requested name.
    """
    chosen = requested_model(requested) if requested else None
    if not instance.rows:
        rejection = ImageRejected(
            "The object has no pixels that a model can read.",
            reason_code="no_pixels",
        )
        return [Verdict(chosen, rejection)]
    facts = _with_assumed_modality(facts_of(instance), chosen)
    if chosen is not None:
        verdicts = [Verdict(chosen, check_header(card_of(chosen), facts))]
    else:
        verdicts = _judge_by_all(active_models(), facts)
    return [*verdicts, *_in_shadow(facts)]


def _with_assumed_modality(
    facts: ImageFacts, chosen: ModelVersion | None
) -> ImageFacts:
    """Return the facts, with the assumed modality and body part for a picture."""
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
    eligible = [verdict for verdict in verdicts if verdict.rejection is None]
    if eligible:
        return eligible
    rejections = [verdict.rejection for verdict in verdicts if verdict.rejection]
    # The rejection of a model for this modality tells more than "wrong modality". Among
    # equals the default model, which comes first, decides.
    rejections.sort(key=lambda rejection: rejection.reason_code == "wrong_modality")
    no_model = ImageRejected(
        "No model is active. The image is stored and not scored.",
        reason_code="no_model",
    )
    return [Verdict(None, next(iter(rejections), no_model))]


def _in_shadow(facts: ImageFacts) -> list[Verdict]:
    return [
        Verdict(model, shadow=True)
        for model in shadow_models()
        if check_header(card_of(model), facts) is None
    ]
