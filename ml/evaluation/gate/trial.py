"""Measure a gate: images that it should accept and images that it must refuse.

Nothing here sets a threshold, and nothing that sets one (`ml.training.gate.fit`,
`ml.training.gate.samples`) is used here: images are turned, inverted and cut by code of
this module, out of val images, and the rest is drawn or read from elsewhere
(`ml.evaluation.gate.images`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from ml.cards.card import Card
from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.evaluation.gate.images import (
    TrialImage,
    chest_samples,
    found_images,
    images_made_wrong,
)
from ml.gate.header import check_image
from ml.inference import LoadedModel
from ml.metrics import auc
from ml.pixels import read_display

AGE_BANDS = ((0, 2), (2, 6), (6, 18), (18, 40), (40, 60), (60, 131))
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Judged:
    """The gate's decision on an image; the score of a picture check is infinite."""

    kind: str
    name: str
    score: float
    reason_code: str
    row: ManifestRow | None = None

    @property
    def refused(self) -> bool:
        """Whether the image is refused."""
        return bool(self.reason_code)


def try_gate(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    samples: Path | None = None,
    folders: Sequence[Path] = (),
    progress: Progress = lambda done: None,
) -> dict[str, Any]:
    """Try a model's gate on its own val images and on what must be refused.

    Args:
        model: A loaded model with a gate.
        rows: Val images of every kind; those of the model's modality are its own.
        root: The folder that the paths of the rows start from.
        samples: A folder of DICOM objects and of pictures, these all images of chests.
        folders: Folders of further images, none of them an image that the model reads.
        progress: Called with how many images are done.

    Raises:
        MlError: The model has no gate, or there is no image of its own.
    """
    if model.gate is None:
        raise MlError(
            "%(model)s %(version)s has no gate.",
            params={"model": model.card.name, "version": model.card.version},
        )
    own = [row for row in rows if reads(model.card, row)]
    if not own:
        raise MlError("The manifest has no image that this model reads.")
    others = [row for row in rows if not reads(model.card, row)]
    real = [_judge_row(model, row, root) for row in own]
    progress(len(real))
    wrong: list[Judged] = []
    images = found_images(samples=samples, folders=folders)
    for picture in chain(_must_be_refused(own, others, root), images):
        wrong.append(judge(model, picture))
        progress(len(real) + len(wrong))
    report = report_of(model, real, wrong)
    if "CHEST" in model.card.body_parts:
        sent = [judge(model, picture) for picture in chest_samples(samples)]
        names = [one.name for one in sent if one.refused]
        report["samples"] = {**share(sent), "names": names}
    return report


def reads(card: Card, row: ManifestRow) -> bool:
    """Return whether a model reads the modality of an image."""
    return not row.modality or row.modality in card.modalities


def judge(model: LoadedModel, picture: TrialImage) -> Judged:
    """Apply the picture checks and the gate to an image, without its header."""
    if rejection := check_image(picture.display, colour=picture.colour):
        return Judged(picture.kind, picture.name, math.inf, rejection.reason_code)
    image, _ = model.prepared(picture.display)
    _, maps = model.runner.run(image)
    if model.gate is None:
        raise MlError(
            "%(model)s %(version)s has no gate.",
            params={"model": model.card.name, "version": model.card.version},
        )
    result = model.gate.judge(maps, image)
    reason = result.reason_code if result.refused else ""
    return Judged(picture.kind, picture.name, result.score, reason)


def _judge_row(model: LoadedModel, row: ManifestRow, root: Path) -> Judged:
    display = read_display((root / row.path).read_bytes())
    judged = judge(model, TrialImage("image", row.path, display))
    return Judged(judged.kind, judged.name, judged.score, judged.reason_code, row)


def _must_be_refused(
    own: Sequence[ManifestRow], others: Sequence[ManifestRow], root: Path
) -> Iterable[TrialImage]:
    yield from images_made_wrong(own, root=root)
    for row in others[:: max(1, len(others) // 150)]:
        display = read_display((root / row.path).read_bytes())
        yield TrialImage(f"other data set: {row.dataset}", row.path, display)


def report_of(
    model: LoadedModel, real: Sequence[Judged], wrong: Sequence[Judged]
) -> dict[str, Any]:
    """Return the metrics as a JSON object."""
    scores = np.array([one.score for one in (*real, *wrong)])
    must = np.array([False] * len(real) + [True] * len(wrong))
    kinds = sorted({one.kind for one in wrong})
    return {
        "model": model.card.name,
        "version": model.card.version,
        "weights_sha256": model.weights_sha256,
        "threshold": model.gate.threshold if model.gate else None,
        "real": {
            "refused": share(real),
            "by_source": _by(real, lambda row: row.dataset or "not given"),
            "by_view": _by(real, lambda row: row.view or "not given"),
            "by_age": _by(real, age_band),
            "reasons": _reasons(real),
            "names": [one.name for one in real if one.refused],
        },
        "must_be_refused": {
            "n": len(wrong),
            "refused": share(wrong),
            "auroc": round(float(auc(scores, must)), 4) if wrong else None,
            "by_kind": {
                kind: {
                    **share([one for one in wrong if one.kind == kind]),
                    "reasons": _reasons([one for one in wrong if one.kind == kind]),
                    "let_in": [
                        one.name
                        for one in wrong
                        if one.kind == kind and not one.refused
                    ][:10],
                }
                for kind in kinds
            },
        },
    }


def age_band(row: ManifestRow) -> str:
    """Return the age band, or "not given"."""
    if row.age_years is None:
        return "not given"
    for low, high in AGE_BANDS:
        if low <= row.age_years < high:
            return f"{low}-{high - 1} years"
    return "not given"


def share(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return how many are refused, with Wilson's 95 % interval."""
    n, refused = len(judged), sum(one.refused for one in judged)
    low, high = wilson_interval(refused, n)
    return {
        "n": n,
        "refused": refused,
        "share": round(refused / n, 4) if n else None,
        "low": round(low, 4),
        "high": round(high, 4),
    }


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927); (0, 1) without images."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _by(
    real: Sequence[Judged], group: Callable[[ManifestRow], str]
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Judged]] = {}
    for one in real:
        if one.row is not None:
            groups.setdefault(group(one.row), []).append(one)
    return {name: share(groups[name]) for name in sorted(groups)}


def _reasons(judged: Sequence[Judged]) -> dict[str, int]:
    codes = [one.reason_code for one in judged if one.refused]
    return {code: codes.count(code) for code in sorted(set(codes))}
