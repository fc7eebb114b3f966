"""Which models are installed, which are active, and by which thresholds they judge.

Cards and weights come with the code (`ml/weights`); `sync_models` makes rows of them
and keeps the weights in the storage by their hash, where they stay while a result
refers to them. Who may use a version is decided in `diagnoses.governance.transitions`.
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
from diagnoses.governance.card_forms import take_present_form
from diagnoses.models import Finding, ModelVersion, OperatingPoint
from diagnoses.worklist import default_rank, rebuild_worklist
from ml.cards.card import Card, list_cards, parse_card
from ml.cards.ensemble_spec import Member
from ml.errors import ModelError

logger = logging.getLogger(__name__)

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
    return [_installed(member) for member in card_of(model_version).members]


def _installed(member: Member) -> ModelVersion:
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


def sync_models(actor: User | None = None) -> list[ModelVersion]:
    """Make rows of the cards that came with the code, and keep their weights.

    May run twice: what is installed stays as it is. A card without weights is listed
    and cannot be used; with the weights that come later it is installed.

    Returns:
        The versions that are newly installed.

    Raises:
        Conflict: A version is installed already with other weights.
        ModelError: Weights do not have the hash that their card says.
    """
    # Ensembles last: what they are made of has to be there.
    cards = sorted(list_cards(), key=lambda card: bool(card.members))
    installed = [_install(card, actor=actor) for card in cards]
    rebuild_worklist()
    return [model_version for model_version in installed if model_version]


def _install(card: Card, *, actor: User | None) -> ModelVersion | None:
    known = ModelVersion.objects.filter(name=card.name, version=card.version).first()
    if card.weights_sha256 is None:
        _list(card, known, actor=actor)
        return None
    if known and known.has_weights:
        _refuse_other_weights(known, card)
        _keep_files(card)
        return None
    _keep_files(card)
    with transaction.atomic():
        model_version, _ = ModelVersion.objects.update_or_create(
            name=card.name,
            version=card.version,
            defaults={
                "weights_sha256": card.weights_sha256,
                "card": dict(card.raw),
                "state_changed_by": actor,
                "state_reason": "installed",
            },
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


def _list(card: Card, known: ModelVersion | None, *, actor: User | None) -> None:
    """Keep the card of a model whose weights were not shipped.

    Raises:
        Conflict: The version is installed with weights.
    """
    if known is not None and known.has_weights:
        _refuse_other_weights(known, card)
    ModelVersion.objects.update_or_create(
        name=card.name,
        version=card.version,
        defaults={"weights_sha256": "", "card": dict(card.raw)},
        create_defaults={
            "weights_sha256": "",
            "card": dict(card.raw),
            "state_changed_by": actor,
            "state_reason": "listed: no weights shipped",
        },
    )


def _refuse_other_weights(known: ModelVersion, card: Card) -> None:
    if known.weights_sha256 != card.weights_sha256:
        raise Conflict(
            f"{known} is installed with the weights {known.weights_sha256[:12]}…, and "
            f"the card now says {str(card.weights_sha256)[:12]}…. Other weights are "
            "another version: give the card a new version number.",
            reason_code="model_version_differs",
        )
    if known.card != dict(card.raw) and not take_present_form(known, card):
        logger.warning(
            "The card of %s says something else than when it was installed; what was "
            "installed stays. A new version number installs it anew.",
            known,
        )


def weights_key(sha256: str) -> str:
    """Return the name under which the storage keeps weights."""
    return f"weights/{sha256}"


def gate_key(sha256: str) -> str:
    """Return the name under which the storage keeps what a gate learned."""
    return f"gates/{sha256}.npz"


def _keep_files(card: Card) -> None:
    """Copy what a card needs to run into the storage, once.

    An ensemble has nothing of its own; its members have.
    """
    for member in card.members:
        _installed(member)
    if not card.members:
        _keep(
            card.weights_file,
            weights_key(str(card.weights_sha256)),
            sha256=str(card.weights_sha256),
        )
    if card.gate is not None and card.gate_file is not None:
        sha256 = card.gate.sha256
        _keep(card.gate_file, gate_key(sha256), sha256=sha256)


def _keep(file: Path, key: str, *, sha256: str) -> None:
    if not file.exists():
        raise ModelError(f"The weights {file} are missing.")
    with file.open("rb") as content:
        _check_hash(content, sha256)
        content.seek(0)
        if not default_storage.exists(key):
            default_storage.save(key, File(content))


def local_weights(model_version: ModelVersion) -> Path:
    """Return the weights as a local file, copied out of the storage once.

    What the version's gate learned comes with them, and lies beside them.

    Raises:
        ModelError: The storage has them not, or with another hash.
    """
    card = card_of(model_version)
    if card.gate is not None and card.gate_file is not None:
        sha256 = card.gate.sha256
        _fetch(gate_key(sha256), card.gate_file, model_version, sha256=sha256)
    if not card.members:
        sha256 = model_version.weights_sha256
        _fetch(weights_key(sha256), card.weights_file, model_version, sha256=sha256)
    return card.weights_file


def _fetch(key: str, local: Path, model_version: ModelVersion, *, sha256: str) -> None:
    if local.exists():
        return
    if not default_storage.exists(key):
        raise ModelError(
            f"The weights of {model_version} are not in the storage. "
            "Run `python manage.py sync_models`."
        )
    local.parent.mkdir(parents=True, exist_ok=True)
    with (
        default_storage.open(key) as stored,
        tempfile.NamedTemporaryFile(dir=local.parent, delete=False) as copy,
    ):
        shutil.copyfileobj(stored, copy, _CHUNK_BYTES)
        copy.flush()
        os.fsync(copy.fileno())
    with Path(copy.name).open("rb") as written:
        _check_hash(written, sha256)
    Path(copy.name).replace(local)


def _folder_of(model_version: ModelVersion) -> Path:
    """Return where the files of a version lie on this machine: of it and no other."""
    return Path(settings.INFERENCE_CACHE_DIR) / "weights" / str(model_version.pk)


def _check_hash(weights: BinaryIO, expected: str) -> None:
    found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != expected:
        raise ModelError(
            f"The weights have the sha256 {found[:12]}… and not {expected[:12]}…, as "
            "the card says. They are damaged or of another version."
        )
