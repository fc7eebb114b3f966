"""The INT8 graph of a model: where packaging put it, and unpacking it once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ml.cards.card import Card
from ml.errors import ModelError
from ml.networks.openvino_export import GRAPH_NAME, unpack_graph
from ml.networks.weights_file import file_sha256


def int8_graph(card: Card, weights: Path, *, cache_dir: Path) -> Path:
    """Return the unpacked INT8 graph of a card; the first call unpacks it.

    Raises:
        ModelError: The card has none, or the file is missing or another one.
    """
    check = card.precisions.int8 if card.precisions else None
    if check is None or check.file is None or check.sha256 is None:
        raise ModelError(
            "%(name)s %(version)s has no graph in INT8.",
            params={"name": card.name, "version": card.version},
            reason_code="weights_missing",
        )
    final = cache_dir / "graphs" / f"{check.sha256}-int8"
    if (final / GRAPH_NAME).exists():
        return final / GRAPH_NAME
    packed = weights.with_name(Path(check.file).name)
    if file_sha256(packed) != check.sha256:
        raise ModelError(
            "The INT8 graph of %(name)s %(version)s does not match the card.",
            params={"name": card.name, "version": card.version},
            reason_code="weights_differ",
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".int8-", dir=final.parent))
    try:
        unpack_graph(packed, unfinished)
        # Of two processes the second replaces the same files.
        final.mkdir(exist_ok=True)
        for part in sorted(unfinished.iterdir()):
            part.replace(final / part.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return final / GRAPH_NAME
