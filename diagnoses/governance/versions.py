"""Queries of model versions: installed, active, their cards and thresholds.

`diagnoses.governance.installation` makes the rows;
`diagnoses.governance.transitions` decides who may use a version.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput
from diagnoses.latest_runs import default_rank
from diagnoses.models import Finding, ModelVersion, OperatingPoint
from ml.cards.card import Card, parse_card
from ml.cards.contents import Retired
from ml.cards.ensemble_spec import Member
from ml.cards.json_reader import read_json
from ml.errors import ModelError

# The latest card of each version, after the JSON and folder that it was parsed from.
_parsed: dict[UUID, tuple[dict[str, Any], Path, Card]] = {}


@dataclass(frozen=True)
class Threshold:
    """The threshold in force for a label, and its source."""

    value: float
    source: Finding.ThresholdSource
    operating_point_id: UUID | None = None


def active_models() -> list[ModelVersion]:
    """Return the active model versions, the default model's first."""
    versions = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
    return sorted(versions, key=lambda m: (default_rank(m.name), m.name))


def shadow_models() -> list[ModelVersion]:
    """Return the versions in shadow: they read every eligible image, hidden."""
    versions = ModelVersion.objects.filter(state=ModelVersion.State.SHADOW)
    return list(versions.order_by("name", "version"))


def requested_model(name: str) -> ModelVersion:
    """Return the active version of the model that an upload names.

    Raises:
        InvalidInput: No active model has this name (unknown_model).
    """
    # Compared here: PostgreSQL refuses a text with NUL in it.
    active = {model.name: model for model in active_models()}
    if name not in active:
        names = {"names": ", ".join(active) or "–"}
        raise InvalidInput(
            _("There is no active model of this name. Active models: %(names)s."),
            params=names,
            reason_code="unknown_model",
            fields={"model": [gettext("Active models: %(names)s.") % names]},
        )
    return active[name]


def check_requested_model(name: str) -> None:
    """Check the model name of an upload; "" names none.

    Raises:
        InvalidInput: No active model has this name (unknown_model).
    """
    if name:
        requested_model(name)


def card_of(model_version: ModelVersion) -> Card:
    """Return the card as it was when the version was installed.

    A card is parsed once: each upload and each run asks for those of several versions.
    """
    raw, folder = model_version.card, _folder_of(model_version)
    known = _parsed.get(model_version.pk)
    if known is None or known[:2] != (raw, folder):
        raw = deepcopy(raw)
        known = raw, folder, parse_card(raw, folder=folder)
        _parsed[model_version.pk] = known
    return known[2]


def members_of(model_version: ModelVersion) -> list[ModelVersion]:
    """Return the installed members of an ensemble, in the order of its card.

    Raises:
        ModelError: One is not installed, or with other weights.
    """
    return [installed_member(member) for member in card_of(model_version).members]


def installed_member(member: Member) -> ModelVersion:
    """Return the installed version that a card names as a member.

    Raises:
        ModelError: It is not installed, or with other weights.
    """
    version = ModelVersion.objects.filter(
        name=member.name,
        version=member.version,
        weights_sha256=member.weights_sha256,
    ).first()
    if version is None:
        raise ModelError(
            "%(name)s %(version)s with the weights %(sha256)s… is a member of an "
            "ensemble and is not installed.",
            params={
                "name": member.name,
                "version": member.version,
                "sha256": member.weights_sha256[:12],
            },
            reason_code="member_missing",
        )
    return version


def retired_of(model_version: ModelVersion) -> Retired | None:
    """Return when a version left the code and what takes its place; None: it has not.

    A person may retire a version, too: that is its state, and may be undone.
    """
    raw = model_version.card.get("retired")
    return read_json(Retired, raw) if raw else None


def retired_sentence(model_version: ModelVersion) -> str:
    """Return why a version can no longer be activated, or ""."""
    retired = retired_of(model_version)
    if retired is None:
        return ""
    return gettext(
        "%(version)s was retired on %(on)s in favour of %(successors)s. It reads no "
        "new images; its results stay."
    ) % {
        "version": model_version,
        "on": retired.on,
        "successors": retired.successors,
    }


def thresholds_of(model_version: ModelVersion) -> dict[str, Threshold]:
    """Return the threshold in force of each label: operating point, else the card's."""
    thresholds = {
        label: Threshold(value, Finding.ThresholdSource.CARD)
        for label, value in card_of(model_version).thresholds.items()
    }
    in_force = (
        OperatingPoint.objects.filter(
            model_version=model_version, effective_from__lte=Now()
        )
        .order_by("label", "-effective_from")
        .distinct("label")
    )
    for point in in_force:
        thresholds[point.label] = Threshold(
            point.value, Finding.ThresholdSource.OPERATING_POINT, point.pk
        )
    return thresholds


def _folder_of(model_version: ModelVersion) -> Path:
    """Return the local folder of a version's files; heads share that of their network.

    Named by what is in it, the weights and the gate.
    """
    gate = (model_version.card.get("gate") or {}).get("sha256", "")
    content = "-".join(filter(None, [model_version.weights_sha256, gate[:16]]))
    return Path(settings.INFERENCE_CACHE_DIR) / "weights" / content
