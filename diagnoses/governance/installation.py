"""Install the models that come with the code: their rows, and their weights.

`sync_models` makes a row of each card in `ml/weights` and copies the weights to the
storage under their hash. They stay there while a result refers to them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts.errors import Conflict
from accounts.models import User
from diagnoses.governance.card_forms import take_present_form
from diagnoses.governance.versions import (
    card_of,
    installed_member,
    members_of,
    retired_of,
)
from diagnoses.models import ModelVersion, OperatingPoint
from ml.cards.card import Card, list_cards
from ml.cards.claims import claimed_labels
from ml.errors import ModelError

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024


def sync_models(actor: User | None = None) -> list[ModelVersion]:
    """Install every card that comes with the code, and store its weights.

    Running it again changes nothing that is installed. A card without weights is
    listed and cannot be used; once weights are added, it is installed.

    Returns:
        The versions that are newly installed.

    Raises:
        Conflict: A version is installed already with other weights.
        ModelError: Weights do not have the hash that their card says.
    """
    # Ensembles last: their members must be installed first.
    cards = sorted(list_cards(), key=lambda card: bool(card.members))
    installed = [_install(card, actor=actor) for card in cards]
    for model_version in ModelVersion.objects.exclude(weights_sha256=""):
        _keep_claims(model_version)
    return [model_version for model_version in installed if model_version]


def _keep_claims(model_version: ModelVersion) -> None:
    """Store which labels the installed card claims; the rules come with the code."""
    members = [card_of(member) for member in members_of(model_version)]
    claimed = list(claimed_labels(card_of(model_version), members=members))
    if model_version.claimed_labels != claimed:
        model_version.claimed_labels = claimed
        model_version.save(update_fields=("claimed_labels",))


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
    """List a card without weights.

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
            _(
                "%(version)s is installed with the weights %(installed)s…, but the "
                "card now names %(named)s…. Give the card a new version number."
            ),
            params={
                "version": str(known),
                "installed": known.weights_sha256[:12],
                "named": str(card.weights_sha256)[:12],
            },
            reason_code="model_version_differs",
        )
    if known.card != dict(card.raw) and not take_present_form(known, card):
        logger.warning(
            "The card of %s has changed since it was installed. The installed card "
            "stays; a new version number installs the new one.",
            known,
        )


def weights_key(sha256: str) -> str:
    """Return the storage key of weights."""
    return f"weights/{sha256}"


def gate_key(sha256: str) -> str:
    """Return the storage key of a gate file."""
    return f"gates/{sha256}.npz"


def int8_key(sha256: str) -> str:
    """Return the storage key of a graph in INT8."""
    return f"graphs/{sha256}.zip"


def _int8_graph(card: Card) -> tuple[Path, str] | None:
    """Return the file of a card's graph in INT8, and its sha256."""
    check = card.precisions.int8 if card.precisions else None
    if check is None or check.file is None or check.sha256 is None:
        return None
    return card.weights_file.with_name(Path(check.file).name), check.sha256


def _keep_files(card: Card) -> None:
    """Copy weights, gate file and INT8 graph of a card to the storage, once.

    An ensemble has no weights of its own.
    """
    for member in card.members:
        installed_member(member)
    if not card.members:
        _keep(
            card.weights_file,
            weights_key(str(card.weights_sha256)),
            sha256=str(card.weights_sha256),
        )
    if card.gate is not None and card.gate_file is not None:
        sha256 = card.gate.sha256
        _keep(card.gate_file, gate_key(sha256), sha256=sha256)
    if int8 := _int8_graph(card):
        file, sha256 = int8
        _keep(file, int8_key(sha256), sha256=sha256)


def _keep(file: Path, key: str, *, sha256: str) -> None:
    if not file.exists():
        raise ModelError(
            "The weights %(file)s are missing.",
            params={"file": str(file)},
            reason_code="weights_missing",
        )
    with file.open("rb") as content:
        _check_hash(content, sha256)
        content.seek(0)
        if not default_storage.exists(key):
            default_storage.save(key, File(content))


def local_weights(model_version: ModelVersion) -> Path:
    """Return the local file of the weights, copied from the storage once.

    The gate file and the INT8 graph are copied into the same folder.

    Raises:
        ModelError: The storage does not have them, or their hash differs.
    """
    card = card_of(model_version)
    if card.gate is not None and card.gate_file is not None:
        sha256 = card.gate.sha256
        _fetch(gate_key(sha256), card.gate_file, model_version, sha256=sha256)
    if int8 := _int8_graph(card):
        file, sha256 = int8
        _fetch(int8_key(sha256), file, model_version, sha256=sha256)
    if not card.members:
        sha256 = model_version.weights_sha256
        _fetch(weights_key(sha256), card.weights_file, model_version, sha256=sha256)
    return card.weights_file


def _fetch(key: str, local: Path, model_version: ModelVersion, *, sha256: str) -> None:
    if local.exists():
        return
    if not default_storage.exists(key):
        if retired_of(model_version):
            raise ModelError(
                "The weights of %(version)s are not in the storage. It is retired, so "
                "they do not come with the code.",
                params={"version": str(model_version)},
                reason_code="weights_missing",
            )
        raise ModelError(
            "The weights of %(version)s are not in the storage. Run `manage.py "
            "sync_models`.",
            params={"version": str(model_version)},
            reason_code="weights_missing",
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


def _check_hash(weights: BinaryIO, expected: str) -> None:
    digest = hashlib.sha256()
    while chunk := weights.read(_CHUNK_BYTES):
        digest.update(chunk)
    actual = digest.hexdigest()
    if actual != expected:
        raise ModelError(
            "The weights have the sha256 %(found)s…, the card names %(expected)s…. "
            "They are damaged or belong to another version.",
            params={"found": actual[:12], "expected": expected[:12]},
            reason_code="weights_differ",
        )
