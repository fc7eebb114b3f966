"""Which active models may read a stored film, judged by its header alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from diagnoses.model_versions import active_models, card_of, requested_model
from diagnoses.models import ModelVersion
from ml.errors import FilmRejected
from ml.gate import (
    DESCRIPTION_KEYWORDS,
    FilmFacts,
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
    *DESCRIPTION_KEYWORDS,
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """One model's answer to a film; `rejection` is None where it reads the film."""

    model_version: ModelVersion | None
    rejection: FilmRejected | None = None


def facts_of(instance: Instance) -> FilmFacts:
    """Return the facts of a stored film that decide whether a model may read it."""
    facts = facts_of_dataset(_dataset_of(instance.header), picture=instance.picture)
    return replace(facts, colour=instance.colour, frames=instance.frames or 0)


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
    """Ask the active models, or only the requested one, whether they read a film.

    A picture has no modality: it is taken for PICTURE_MODALITY and PICTURE_BODY_PART,
    and for what the requested model reads where one is named.

    Args:
        instance: The stored film.
        requested: A model's name, or "" for all that are active.

    Returns:
        Every model that fits, the default first. If none does, one verdict with the
        rejection: of the requested model, or without a model.

    Raises:
        InvalidInput: No active model has the requested name.
    """
    facts = facts_of(instance)
    if not instance.rows:
        rejection = FilmRejected(
            "The object has no pixels that a model could read.",
            reason_code="no_pixels",
        )
        return [Verdict(requested_model(requested) if requested else None, rejection)]
    if requested:
        model_version = requested_model(requested)
        return [Verdict(model_version, check_header(card_of(model_version), facts))]
    if facts.picture:
        facts = replace(
            facts,
            picture=False,
            modality=settings.PICTURE_MODALITY,
            body_part_examined=settings.PICTURE_BODY_PART,
        )
    return _judge_by_all(active_models(), facts)


def _judge_by_all(models: Iterable[ModelVersion], facts: FilmFacts) -> list[Verdict]:
    verdicts = [Verdict(model, check_header(card_of(model), facts)) for model in models]
    fitting = [verdict for verdict in verdicts if verdict.rejection is None]
    if fitting:
        return fitting
    # The default model's reason speaks for all: it stands first.
    for verdict in verdicts:
        return [Verdict(None, verdict.rejection)]
    rejection = FilmRejected(
        "No model is active, so nothing reads this film.", reason_code="no_model"
    )
    return [Verdict(None, rejection)]
