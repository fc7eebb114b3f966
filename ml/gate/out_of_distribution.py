"""The gate in feature space: does an image look like those that a model learned from?

Asked of what the network has seen anyway: the means of its last maps, and a thumbnail
of its input. Seven measures, each 0 for the middle of the images that the gate was
fitted to and 1 at its limit: how far the image lies from their centre (Mahalanobis),
how much of its features and of its thumbnail lies outside the space that they span,
and how much a small probe takes it for inverted, turned, cut or no image at all. The
largest counts. Costs a fraction of a millisecond. `ml.training.gate.fit` fits it, and
`ml.evaluation.gate.trial` measures it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ml.cards.card import Card
from ml.errors import ImageRejected, ModelError

METHOD = "mahalanobis"
THUMBNAIL_SIDE = 32

UPRIGHT = "upright"
UNLIKE = "unlike_training_images"
# What the probe tells apart; all but the first are reasons to refuse.
CLASSES = (UPRIGHT, "inverted", "rotated", "cropped", UNLIKE)
MEASURES = ("distance", "features_outside", "thumbnail_outside", *CLASSES[1:])
FIRST_OF_PROBE = MEASURES.index(CLASSES[1])
SENTENCES = {
    UNLIKE: "The image does not look like the images that the model learned from.",
    "inverted": (
        "The image looks inverted, white where it should be black. "
        "Check its photometric interpretation."
    ),
    "rotated": "The image looks turned or upside down. Turn it and send it again.",
    "cropped": "The image looks cut: part of what the model reads is missing.",
}


@dataclass(frozen=True)
class GateResult:
    """What the gate says of one image.

    `score` is the largest measure; above `threshold` the image is refused, with
    `reason_code`. `applied` is false where it was scored all the same.
    """

    score: float
    threshold: float
    reason_code: str
    applied: bool = True

    @property
    def refused(self) -> bool:
        """Whether the image is refused, or would be were the gate applied."""
        return self.score > self.threshold

    def rejection(self) -> ImageRejected:
        """Return the refusal, for people and for programs."""
        return ImageRejected(SENTENCES[self.reason_code], reason_code=self.reason_code)

    def to_json(self) -> dict[str, Any]:
        """Return what the provenance of a run keeps."""
        return {
            "score": round(self.score, 4),
            "threshold": self.threshold,
            "refused": self.refused,
            "reason_code": self.reason_code if self.refused else "",
            "applied": self.applied,
        }


@dataclass(frozen=True)
class Seen:
    """Input of the gate: float32 (images, features) and (images, pixels)."""

    features: np.ndarray
    thumbnails: np.ndarray


def seen_of(maps: np.ndarray, image: np.ndarray) -> Seen:
    """Return what the gate looks at of one image.

    Args:
        maps: float (rows, columns, features), the last maps of the network.
        image: float32 (size, size, channels), its input.
    """
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = cv2.resize(image[..., 0], side, interpolation=cv2.INTER_AREA)
    features = maps.reshape(-1, maps.shape[-1]).mean(axis=0, dtype=np.float32)
    return Seen(features[None], thumbnail.reshape(1, -1))


class FeatureGate:
    """The numbers of one model's gate, ready to judge images."""

    def __init__(self, arrays: Mapping[str, np.ndarray], *, threshold: float) -> None:
        self.threshold = threshold
        self._arrays = {
            name: np.asarray(value, np.float32) for name, value in arrays.items()
        }

    def judge(self, maps: np.ndarray, image: np.ndarray) -> GateResult:
        """Judge one image by what the network saw; see `seen_of`."""
        seen = seen_of(maps, image)
        place, outside = embed(self._arrays, seen)
        raw = raw_measures(self._arrays, place, outside)
        measures = self._scaled(raw)[0]
        return GateResult(
            score=float(measures.max()),
            threshold=self.threshold,
            reason_code=_reason(measures, raw[0, FIRST_OF_PROBE:]),
        )

    def measures(self, seen: Seen) -> np.ndarray:
        """Return float32 (images, measures), 0 in the middle and 1 at each limit."""
        return self._scaled(raw_measures(self._arrays, *embed(self._arrays, seen)))

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        middle, limit = self._arrays["middles"], self._arrays["limits"]
        scaled: np.ndarray = (raw - middle) / (limit - middle)
        return scaled


def embed(
    arrays: Mapping[str, np.ndarray], seen: Seen
) -> tuple[np.ndarray, np.ndarray]:
    """Return where images lie in the space of the fit, and how much lies outside it.

    Returns:
        float32 (images, dimensions) and (images, 2): of features, of thumbnails.
    """
    places, outside = [], []
    for name, values in (("feature", seen.features), ("thumbnail", seen.thumbnails)):
        centred = (values - arrays[f"{name}_mean"]) / arrays[f"{name}_scale"]
        place = centred @ arrays[f"{name}_basis"]
        left = (centred**2).sum(axis=1) - (place**2).sum(axis=1)
        outside.append(np.log(np.maximum(left, 1e-6)))
        places.append(place / arrays[f"{name}_spread"])
    return np.concatenate(places, axis=1), np.stack(outside, axis=1)


def raw_measures(
    arrays: Mapping[str, np.ndarray], place: np.ndarray, outside: np.ndarray
) -> np.ndarray:
    """Return float32 (images, measures) before middles and limits are set."""
    away = (place - arrays["centre"]) @ arrays["whitening"]
    distance = np.log(np.maximum((away**2).mean(axis=1), 1e-6))
    logits = probe_logits(arrays, place)
    return np.column_stack((distance, outside, logits[:, 1:] - logits[:, :1]))


def probe_logits(arrays: Mapping[str, np.ndarray], place: np.ndarray) -> np.ndarray:
    """Return the probe's logits, (images, CLASSES)."""
    hidden = np.maximum(place @ arrays["probe_in"] + arrays["probe_in_bias"], 0.0)
    logits: np.ndarray = hidden @ arrays["probe_out"] + arrays["probe_out_bias"]
    return logits


def _reason(measures: np.ndarray, log_odds: np.ndarray) -> str:
    """Name what the probe takes the image for: that can be put right.

    Args:
        measures: float (measures,), scaled.
        log_odds: float (CLASSES[1:],), of each way to be wrong against upright.
    """
    strongest = int(np.argmax(log_odds))
    by_probe = int(np.argmax(measures)) >= FIRST_OF_PROBE
    return CLASSES[1 + strongest] if by_probe or log_odds[strongest] > 0 else UNLIKE


def load_gate(card: Card) -> FeatureGate | None:
    """Load the gate of a card from beside the weights; None where the card has none.

    Raises:
        ModelError: The file is missing, another than the card's, or no gate.
    """
    gate, file = card.gate, card.gate_file
    if gate is None or file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The gate {file} of {card.name} {card.version} is missing.",
            reason_code="gate_missing",
        ) from error
    if hashlib.sha256(content).hexdigest() != gate.sha256:
        raise ModelError(
            f"The gate {file} is not the one of the card of {card.name} "
            f"{card.version}: another sha256.",
            reason_code="gate_differs",
        )
    with np.load(file, allow_pickle=False) as arrays:
        return FeatureGate(dict(arrays), threshold=gate.threshold)
