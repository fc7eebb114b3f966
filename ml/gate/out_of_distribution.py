"""Out-of-distribution gate: rejects images that are unlike the training images.

It uses what the network has computed anyway: the spatial means of its last maps, and a
thumbnail of its input. Seven measures, each 0 at the median of the images that the
gate was fitted to and 1 at its limit: the Mahalanobis distance from their centre, the
residual of the features and of the thumbnail outside the subspace that they span, and
the log odds of a small probe that the image is inverted, rotated, cropped or unlike
the training images. The largest measure decides. It takes a fraction of a millisecond.
`ml.training.gate.fit` fits the gate, and `ml.evaluation.gate.trial` measures it.
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
# Classes of the probe; all but the first are reasons to reject the image.
CLASSES = (UPRIGHT, "inverted", "rotated", "cropped", UNLIKE)
MEASURES = ("distance", "features_outside", "thumbnail_outside", *CLASSES[1:])
FIRST_OF_PROBE = MEASURES.index(CLASSES[1])


@dataclass(frozen=True)
class GateResult:
    """Result of the gate for one image.

    `score` is the largest measure. Above `threshold` the image is rejected with
    `reason_code`, unless `applied` is false.
    """

    score: float
    threshold: float
    reason_code: str
    applied: bool = True

    @property
    def refused(self) -> bool:
        """Whether the score is above the threshold, applied or not."""
        return self.score > self.threshold

    def rejection(self) -> ImageRejected:
        """Return the rejection with the sentence for its reason code."""
        match self.reason_code:
            case "inverted":
                return ImageRejected(
                    "The image looks inverted: white where it should be black. Check "
                    "its photometric interpretation.",
                    reason_code="inverted",
                )
            case "rotated":
                return ImageRejected(
                    "The image looks rotated. Rotate it upright and send it again.",
                    reason_code="rotated",
                )
            case "cropped":
                return ImageRejected(
                    "The image looks cropped: a part that the model needs is missing.",
                    reason_code="cropped",
                )
            case _:
                return ImageRejected(
                    "The image is unlike the images that the model was trained on.",
                    reason_code=UNLIKE,
                )

    def to_json(self) -> dict[str, Any]:
        """Return the gate result as the provenance of a run stores it."""
        return {
            "score": round(self.score, 4),
            "threshold": self.threshold,
            "refused": self.refused,
            "reason_code": self.reason_code if self.refused else "",
            "applied": self.applied,
        }


@dataclass(frozen=True)
class Seen:
    """Inputs of the gate: float32 (images, features) and (images, pixels)."""

    features: np.ndarray
    thumbnails: np.ndarray


def seen_of(maps: np.ndarray, image: np.ndarray) -> Seen:
    """Compute the gate's inputs for one image.

    Args:
        maps: float (rows, columns, features), the last maps of the network.
        image: float32 (size, size, channels), its input.
    """
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = cv2.resize(image[..., 0], side, interpolation=cv2.INTER_AREA)
    features = maps.reshape(-1, maps.shape[-1]).mean(axis=0, dtype=np.float32)
    return Seen(features[None], thumbnail.reshape(1, -1))


class FeatureGate:
    """The fitted arrays of one model's gate, and its threshold."""

    def __init__(self, arrays: Mapping[str, np.ndarray], *, threshold: float) -> None:
        self.threshold = threshold
        self._arrays = {
            name: np.asarray(value, np.float32) for name, value in arrays.items()
        }

    def judge(self, maps: np.ndarray, image: np.ndarray) -> GateResult:
        """Compute the gate result of one image; arguments as for `seen_of`."""
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
        """Return float32 (images, measures), 0 at each median and 1 at each limit."""
        return self._scaled(raw_measures(self._arrays, *embed(self._arrays, seen)))

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        middle, limit = self._arrays["middles"], self._arrays["limits"]
        scaled: np.ndarray = (raw - middle) / (limit - middle)
        return scaled


def embed(
    arrays: Mapping[str, np.ndarray], seen: Seen
) -> tuple[np.ndarray, np.ndarray]:
    """Project images onto the fitted subspace, and measure the residual outside it.

    Returns:
        float32 (images, dimensions), the coordinates, and float32 (images, 2), the
        logarithm of the squared residual of features and of thumbnails.
    """
    places, outside = [], []
    for name, values in (("feature", seen.features), ("thumbnail", seen.thumbnails)):
        centred = (values - arrays[f"{name}_mean"]) / arrays[f"{name}_scale"]
        place = centred @ arrays[f"{name}_basis"]
        residual = (centred**2).sum(axis=1) - (place**2).sum(axis=1)
        outside.append(np.log(np.maximum(residual, 1e-6)))
        places.append(place / arrays[f"{name}_spread"])
    return np.concatenate(places, axis=1), np.stack(outside, axis=1)


def raw_measures(
    arrays: Mapping[str, np.ndarray], place: np.ndarray, outside: np.ndarray
) -> np.ndarray:
    """Return float32 (images, measures), not yet scaled by medians and limits."""
    whitened = (place - arrays["centre"]) @ arrays["whitening"]
    distance = np.log(np.maximum((whitened**2).mean(axis=1), 1e-6))
    logits = probe_logits(arrays, place)
    return np.column_stack((distance, outside, logits[:, 1:] - logits[:, :1]))


def probe_logits(arrays: Mapping[str, np.ndarray], place: np.ndarray) -> np.ndarray:
    """Return the probe's logits, float32 (images, CLASSES)."""
    hidden = np.maximum(place @ arrays["probe_in"] + arrays["probe_in_bias"], 0.0)
    logits: np.ndarray = hidden @ arrays["probe_out"] + arrays["probe_out_bias"]
    return logits


def _reason(measures: np.ndarray, log_odds: np.ndarray) -> str:
    """Choose the reason code: the probe's class where it has one, else `UNLIKE`.

    A class of the probe tells the user what to correct.

    Args:
        measures: float (measures,), scaled.
        log_odds: float (CLASSES[1:],), of each class against upright.
    """
    strongest = int(np.argmax(log_odds))
    by_probe = int(np.argmax(measures)) >= FIRST_OF_PROBE
    return CLASSES[1 + strongest] if by_probe or log_odds[strongest] > 0 else UNLIKE


def load_gate(card: Card) -> FeatureGate | None:
    """Load the gate file beside the weights; None if the card has no gate.

    Raises:
        ModelError: The file is missing, or its sha256 is not the card's.
    """
    gate, file = card.gate, card.gate_file
    if gate is None or file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(
            "The gate file %(file)s of %(name)s %(version)s is missing.",
            params={"file": str(file), "name": card.name, "version": card.version},
            reason_code="gate_missing",
        ) from error
    if hashlib.sha256(content).hexdigest() != gate.sha256:
        raise ModelError(
            "The gate file %(file)s does not match the card of %(name)s %(version)s: "
            "the sha256 differs.",
            params={"file": str(file), "name": card.name, "version": card.version},
            reason_code="gate_differs",
        )
    with np.load(file, allow_pickle=False) as arrays:
        return FeatureGate(dict(arrays), threshold=gate.threshold)
