"""Which models are installed, which are active, and by which thresholds they judge.

Cards and weights come with the code (`ml/weights`); `sync_models` makes rows of them
and keeps the weights in the storage by their hash, where they stay while a result
refers to them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now

from accounts.errors import Conflict, InvalidInput
from accounts.models import User
from diagnoses.models import Finding, ModelVersion, OperatingPoint
from diagnoses.worklist import rebuild_worklist
from ml import registry
from ml.errors import ModelError

logger = logging.getLogger(__name__)

DEMO_REASON = "demo"
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Threshold:
    """The value that a label is judged by from now on, and where it comes from."""

    value: float
    source: Finding.ThresholdSource
    operating_point_id: UUID | None = None


def active_models() -> list[ModelVersion]:
    """Return the active model versions, the default model's first."""
    versions = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
    return sorted(versions, key=lambda m: (m.name != settings.DEFAULT_MODEL, m.name))


def default_model() -> ModelVersion | None:
    """Return the active version of the default model, if there is one."""
    return ModelVersion.objects.filter(
        name=settings.DEFAULT_MODEL, state=ModelVersion.State.ACTIVE
    ).first()


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


def card_of(model_version: ModelVersion) -> registry.Card:
    """Return the card as it was when the version was installed."""
    return registry.parse_card(model_version.card, folder=_weights_folder())


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


def sync_models(actor: User | None = None) -> list[ModelVersion]:
    """Make rows of the cards that came with the code, and keep their weights.

    May run twice: what is installed stays as it is. A card without weights is left
    out, as its model cannot run.

    Returns:
        The versions that are newly installed.

    Raises:
        Conflict: A version is installed already with other weights.
        ModelError: Weights do not have the hash that their card says.
    """
    installed = [_install(card, actor=actor) for card in registry.list_cards()]
    rebuild_worklist()
    return [model_version for model_version in installed if model_version]


def _install(card: registry.Card, *, actor: User | None) -> ModelVersion | None:
    if card.weights_sha256 is None:
        logger.warning("%s %s has no weights: left out", card.name, card.version)
        return None
    known = ModelVersion.objects.filter(name=card.name, version=card.version).first()
    if known:
        _refuse_other_weights(known, card)
        _keep_weights(card)
        return None
    _keep_weights(card)
    with transaction.atomic():
        model_version = ModelVersion.objects.create(
            name=card.name,
            version=card.version,
            weights_sha256=card.weights_sha256,
            card=dict(card.raw),
            state_changed_by=actor,
            state_reason="installed",
        )
        OperatingPoint.objects.bulk_create(
            OperatingPoint(
                model_version=model_version,
                label=label,
                value=value,
                method=f"card of {card.name} {card.version}",
                set_by=actor,
            )
            for label, value in card.thresholds.items()
        )
    return model_version


def _refuse_other_weights(known: ModelVersion, card: registry.Card) -> None:
    if known.weights_sha256 != card.weights_sha256:
        raise Conflict(
            f"{known} is installed with the weights {known.weights_sha256[:12]}…, and "
            f"the card now says {str(card.weights_sha256)[:12]}…. Other weights are "
            "another version: give the card a new version number.",
            reason_code="model_version_differs",
        )


def weights_key(sha256: str) -> str:
    """Return the name under which the storage keeps weights."""
    return f"weights/{sha256}"


def _keep_weights(card: registry.Card) -> None:
    """Copy a card's weights into the storage, once."""
    key = weights_key(str(card.weights_sha256))
    if not card.weights_file.exists():
        raise ModelError(f"The weights {card.weights_file} are missing.")
    with card.weights_file.open("rb") as weights:
        _check_hash(weights, str(card.weights_sha256))
        weights.seek(0)
        if not default_storage.exists(key):
            default_storage.save(key, File(weights))


def local_weights(model_version: ModelVersion) -> Path:
    """Return the weights as a local file, copied out of the storage once.

    Raises:
        ModelError: The storage has them not, or with another hash.
    """
    sha256 = model_version.weights_sha256
    folder = _weights_folder()
    local = folder / f"{sha256}.keras"
    if local.exists():
        return local
    if not default_storage.exists(weights_key(sha256)):
        raise ModelError(
            f"The weights of {model_version} are not in the storage. "
            "Run `python manage.py sync_models`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (
        default_storage.open(weights_key(sha256)) as stored,
        tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy,
    ):
        shutil.copyfileobj(stored, copy, _CHUNK_BYTES)
        copy.flush()
        os.fsync(copy.fileno())
    with Path(copy.name).open("rb") as written:
        _check_hash(written, sha256)
    Path(copy.name).replace(local)
    return local


def _weights_folder() -> Path:
    return Path(settings.INFERENCE_CACHE_DIR) / "weights"


def _check_hash(weights: BinaryIO, expected: str) -> None:
    found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != expected:
        raise ModelError(
            f"The weights have the sha256 {found[:12]}… and not {expected[:12]}…, as "
            "the card says. They are damaged or of another version."
        )


def activate(model_version: ModelVersion, *, actor: User | None, reason: str) -> None:
    """Let a version read the films that fit; it replaces the version before."""
    with transaction.atomic():
        versions = ModelVersion.objects.select_for_update().filter(
            name=model_version.name
        )
        for version in versions:
            if version.state == ModelVersion.State.ACTIVE and (
                version.pk != model_version.pk
            ):
                _change_state(version, ModelVersion.State.RETIRED, actor, reason)
        _change_state(model_version, ModelVersion.State.ACTIVE, actor, reason)


def retire(model_version: ModelVersion, *, actor: User | None, reason: str) -> None:
    """Let a version read no further films; what waits for it is still read."""
    with transaction.atomic():
        _change_state(model_version, ModelVersion.State.RETIRED, actor, reason)


def activate_for_demo() -> list[ModelVersion]:
    """Activate the newest version of each model, except where a person decided."""
    activated = []
    for name in sorted(set(ModelVersion.objects.values_list("name", flat=True))):
        versions = list(ModelVersion.objects.filter(name=name))
        decided = any(
            version.state != ModelVersion.State.INSTALLED
            and version.state_reason != DEMO_REASON
            for version in versions
        )
        newest = max(versions, key=lambda version: version.installed_at)
        if not decided and newest.state != ModelVersion.State.ACTIVE:
            activate(newest, actor=None, reason=DEMO_REASON)
            activated.append(newest)
    return activated


def _change_state(
    model_version: ModelVersion,
    state: ModelVersion.State,
    actor: User | None,
    reason: str,
) -> None:
    model_version.state = state
    model_version.state_changed_by = actor
    model_version.state_changed_at = Now()
    model_version.state_reason = reason
    model_version.save(
        update_fields=("state", "state_changed_by", "state_changed_at", "state_reason")
    )
    model_version.refresh_from_db(fields=("state_changed_at",))
