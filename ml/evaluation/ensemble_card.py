"""The card of an ensemble: from the cards of its members, then measured.

An ensemble has every label that at least two members know, by that name, by a synonym,
or in parts (`PARENTS`: Bacterial and Viral pneumonia of a softmax model sum to
Pneumonia).
Thresholds come from training patients that every member kept out of learning; val is
only measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards import card as cards
from ml.cards.card import Card, parse_card
from ml.cards.contents import SCHEMA_VERSION, TrainingSource
from ml.cards.from_report import measurement_of_report
from ml.cards.json_reader import as_json
from ml.cards.limits import limits_of_ensemble
from ml.datasets.manifest import ManifestRow, drawn_percent, with_split
from ml.ensemble import EnsembleModel, ReadsImages
from ml.errors import ModelError
from ml.evaluation.scoring import report_of, score_images
from ml.evaluation.summary import HEADLINES, ScoredImages
from ml.labels import CHEST_LABELS, PARENTS, SYNONYMS, Label
from ml.metrics import expected_calibration_error
from ml.training.calibration import LEAST_IMAGES
from ml.training.heads import recipe_of_model
from ml.training.operating_points import operating_points

RULE = (
    "mean of the members' calibrated probabilities for each label that at least two "
    "of them know; heat map: mean of the members' contributions to their logits"
)
UNFITTED_THRESHOLD = 0.5
UNFITTED_METHOD = "0.5 for every label: not fitted yet"
FITTED_METHOD = (
    "largest sensitivity + specificity - 1 on training patients that every member kept "
    "out of learning; a plain value where a label had too few images of a kind there"
)
# What a calibrated probability may be off by, on the mean; more is called a score.
LARGEST_CALIBRATION_ERROR = 0.05
HELD_OUT_PERCENT = 8
KEPT_OF_REPORT = ("n", "patients", *HEADLINES, "labels", "too_few")
DIGITS = 4


def build_ensemble_card(
    members: Sequence[Card], *, name: str = "chest-ensemble", version: str = "1.0.0"
) -> dict[str, Any]:
    """Return the JSON of an ensemble's card, its thresholds not fitted yet.

    Args:
        members: Cards of calibrated models with weights, at most one version of each.
        name: The ensemble's name.
        version: Its version.

    Raises:
        ModelError: A member cannot be one, or no two of them know one label.
    """
    _check_members(members)
    sources = shared_labels(members)
    labels = [_label(label, members) for label in sources]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "architecture": "ensemble",
        "task": "sigmoid",
        "labels": [
            {"name": label.name, "display": label.display, "snomed": label.snomed}
            for label in labels
        ],
        "accepts": _accepts(members),
        "input": _input(members),
        "weights": None,
        "members": [_member(card) for card in members],
        "combination": {"rule": RULE, "labels": sources},
        "calibration": {"calibrated": False, "method": "not measured yet"},
        "thresholds": {
            "values": dict.fromkeys(sources, UNFITTED_THRESHOLD),
            "method": UNFITTED_METHOD,
        },
        "training_data": as_json(_training_data(members)),
        "measurements": [],
        **_words(members),
    }


def _input(members: Sequence[Card]) -> dict[str, Any]:
    return {
        "size": max(card.input_size for card in members),
        "channels": members[0].input_channels,
        "normalisation": dict(members[0].normalisation),
    }


def _member(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "weights_sha256": card.weights_sha256,
    }


def shared_labels(members: Sequence[Card]) -> dict[str, dict[str, list[str]]]:
    """Return the labels that two or more members know, and by which names.

    Raises:
        ModelError: There is none.
    """
    known: dict[str, dict[str, list[str]]] = {}
    for card in members:
        for label, names in _known_to(card).items():
            known.setdefault(label, {})[card.name] = names
    shared = {label: names for label, names in sorted(known.items()) if len(names) > 1}
    if not shared:
        raise ModelError("No two of these models know one label.")
    return shared


def _known_to(card: Card) -> dict[str, list[str]]:
    direct = {SYNONYMS.get(name, name): [name] for name in card.label_names}
    summed: dict[str, list[str]] = {}
    # Only where exactly one label is true do the parts add up.
    for name in card.label_names if card.task == "softmax" else ():
        if name in PARENTS:
            summed.setdefault(PARENTS[name], []).append(name)
    return summed | direct


def _check_members(members: Sequence[Card]) -> None:
    names = [card.name for card in members]
    if len(set(names)) != len(names) or len(names) < 2:
        raise ModelError("An ensemble takes two or more models, each once.")
    for card in members:
        name = f"{card.name} {card.version}"
        if card.members:
            raise ModelError("%(model)s is an ensemble itself.", params={"model": name})
        if card.weights_sha256 is None:
            raise ModelError("%(model)s has no weights.", params={"model": name})
        if not card.calibrated:
            raise ModelError(
                "%(model)s is not calibrated: its scores are not probabilities.",
                params={"model": name},
            )
    for kind in ("modalities", "body_parts", "views"):
        if not set.intersection(*(set(getattr(card, kind)) for card in members)):
            raise ModelError(
                "No image fits all of these models: they have no %(kind)s in common.",
                params={"kind": kind},
            )


def _label(name: str, members: Sequence[Card]) -> Label:
    given = [label for card in members for label in card.labels]
    for label in (*given, *CHEST_LABELS):
        if label.name == name:
            return label
    raise ModelError(
        "The label %(label)s has no SNOMED CT code.", params={"label": name}
    )


def _accepts(members: Sequence[Card]) -> dict[str, Any]:
    first = members[0]
    accepts: dict[str, Any] = {
        kind: [
            value
            for value in getattr(first, kind)
            if all(value in getattr(card, kind) for card in members)
        ]
        for kind in ("modalities", "body_parts", "views")
    }
    accepts["ages"] = "; ".join(dict.fromkeys(card.ages for card in members))
    ranges = [card.age_range for card in members if card.age_range]
    if ranges:
        accepts["age_years"] = [
            max(low for low, _ in ranges),
            min(high for _, high in ranges),
        ]
    return accepts


def _training_data(members: Sequence[Card]) -> list[TrainingSource]:
    """Return each source once, with the member that learned from most of its images."""
    largest: dict[tuple[str, str], TrainingSource] = {}
    for card in members:
        for source in card.training_data:
            key = source.label, source.dataset
            kept = largest.get(key)
            if kept is None or (source.images or 0) > (kept.images or 0):
                largest[key] = source
    return [largest[key] for key in sorted(largest)]


def _words(members: Sequence[Card]) -> dict[str, Any]:
    names = ", ".join(f"{card.name} {card.version}" for card in members)
    return {
        "intended_use": "Decision support, not for diagnosis. Several models as one, "
        f"for the labels that at least two of them know: {names}.",
        "limits": limits_of_ensemble(members),
        "not_measured": list(
            dict.fromkeys(item for card in members for item in card.not_measured)
        ),
    }


def measured_card(
    raw: dict[str, Any],
    members: Sequence[ReadsImages],
    *,
    rows: Sequence[ManifestRow],
    root: Path,
    command: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return the card with fitted thresholds, calibration and metrics of val.

    Args:
        raw: What `build_ensemble_card` returned.
        members: The members, loaded, in its order.
        rows: A manifest with the splits train and val.
        root: The folder that its paths start from.
        command: The command that measures the same on val again, as arguments.
        progress: Called with how many images of a split are done, of how many.

    Raises:
        ModelError: No image of the split train was kept out of learning.
    """
    held_out = [
        row
        for row in with_split(rows, "train")
        if drawn_percent(row.patient) < HELD_OUT_PERCENT
    ]
    # Below this, a member's own calibration was fitted to the patient's images.
    fitted_below = max(_percent(member) // 2 for member in raw["members"])
    scored = _scored(raw, members, held_out, root, progress)
    if not len(scored.scores):
        raise ModelError("No image of the split train was kept out of learning.")
    card = raw | _fitted(scored, fitted_below=fitted_below)
    measured = _scored(card, members, with_split(rows, "val"), root, progress)
    report = report_of(measured, weights_sha256="")
    measurement = measurement_of_report(
        {name: report[name] for name in KEPT_OF_REPORT},
        key="val",
        datasets=sorted({row.dataset for row in measured.rows if row.dataset}),
        command=command,
    )
    card["measurements"] = [as_json(measurement)]
    return card


def _scored(
    raw: dict[str, Any],
    members: Sequence[ReadsImages],
    rows: Sequence[ManifestRow],
    root: Path,
    progress: Callable[[int, int], None],
) -> ScoredImages:
    model = EnsembleModel(parse_card(raw, folder=Path()), members)
    return score_images(model, rows, root=root, progress=progress)


def _percent(member: Mapping[str, Any]) -> int:
    recipe = recipe_of_model(member["name"])
    return recipe.held_out_percent if recipe else HELD_OUT_PERCENT


def _fitted(scored: ScoredImages, *, fitted_below: int) -> dict[str, Any]:
    """Return thresholds and calibration, as they are on images kept out of learning.

    The calibration is checked on those patients alone to whom no member's own was
    fitted.
    """
    drawn = np.array([drawn_percent(patient) for patient in scored.patients], int)
    unseen = drawn >= fitted_below
    names = scored.card.label_names
    points = operating_points(
        scored.scores, scored.positive, scored.known, names=names, task="sigmoid"
    )
    gaps: dict[str, float] = {}
    scores_only: list[str] = []
    for i, name in enumerate(names):
        known = scored.known[:, i] & unseen
        scores, positive = scored.scores[known, i], scored.positive[known, i]
        if min(int(positive.sum()), int((~positive).sum())) < LEAST_IMAGES:
            scores_only.append(name)
            continue
        gaps[name] = round(expected_calibration_error(scores, positive), DIGITS)
        if gaps[name] > LARGEST_CALIBRATION_ERROR:
            scores_only.append(name)
    checked = {p for p, ok in zip(scored.patients, unseen, strict=True) if ok}
    return {
        "thresholds": {"values": points["youden"], "method": FITTED_METHOD},
        "operating_points": points,
        "calibration": {
            "calibrated": len(scores_only) < len(names),
            "method": "mean of calibrated members, as it is",
            "checked_on": f"{int(unseen.sum())} images of {len(checked)} patients of "
            "the train split that every member kept out of learning and calibration",
            "expected_calibration_error": gaps,
            # Too few images to know, or a gap over 0.05: called scores.
            "too_few": scores_only,
        },
    }


def write_card(raw: dict[str, Any], *, weights_dir: Path) -> Path:
    """Write a card as a model without a weights file; return its path.

    Raises:
        ModelError: It is there already: another card is another version.
    """
    folder = weights_dir / raw["name"] / raw["version"]
    path = folder / "card.json"
    if path.exists():
        raise ModelError(
            "%(card)s is there already: give the card another version.",
            params={"card": path},
        )
    folder.mkdir(parents=True, exist_ok=True)
    cards.write_card(path, raw)
    return path
