"""Which models are installed, which are active, and by which thresholds they judge.

`diagnoses.governance.installation` makes the rows;
`diagnoses.governance.transitions` decides who may use a version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from accounts.errors import InvalidInput
from diagnoses.latest_runs import default_rank
from diagnoses.models import Finding, ModelVersion, OperatingPoint
from ml.cards.card import Card, parse_card
from ml.cards.ensemble_spec import Member
from ml.errors import ModelError


@dataclass(frozen=True)
class Threshold:
    """The value that a label is judged by from now on, and where it comes from."""

    value: float
    source: Finding.ThresholdSource
    operating_point_id: UUID | None = None


def active_models() -> list[ModelVersion]:
    """Return the active model versions, the default model's first."""
    versions = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
    return sorted(versions, key=lambda m: (default_rank(m.name), m.name))


def shadow_models() -> list[ModelVersion]:
    """Return the versions that read every image that fits, unseen by readers."""
    versions = ModelVersion.objects.filter(state=ModelVersion.State.SHADOW)
    return list(versions.order_by("name", "version"))


def requested_model(name: str) -> ModelVersion:
    """Return the active version of the model that an upload names.

    Raises:
        InvalidInput: No active model has this name (unknown_model).
    """
    # Compared here: the database refuses to look for a name with NUL in it.
    active = {model.name: model for model in active_models()}
    found = active.get(name)
    if found is None:
        known = ", ".join(active) or "none"
        raise InvalidInput(
            f"There is no active model of that name. Active models: {known}.",
            reason_code="unknown_model",
            fields={"model": [f"Active models: {known}."]},
        )
    return found


def check_requested_model(name: str) -> None:
    """Refuse an upload that names a model which is not there; "" names none.

    Raises:
        InvalidInput: No active model has this name (unknown_model).
    """
    if name:
        requested_model(name)


def card_of(model_version: ModelVersion) -> Card:
    """Return the card as it was when the version was installed."""
    return parse_card(model_version.card, folder=_folder_of(model_version))


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
    found = ModelVersion.objects.filter(
        name=member.name,
        version=member.version,
        weights_sha256=member.weights_sha256,
    ).first()
    if found is None:
        raise ModelError(
            f"{member.name} {member.version} with the weights "
            f"{member.weights_sha256[:12]}… is not installed, and an ensemble is made "
            "of it.",
            reason_code="member_missing",
        )
    return found


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
    """Return where the files of a version lie on this machine: of it and no other."""
    return Path(settings.INFERENCE_CACHE_DIR) / "weights" / str(model_version.pk)
