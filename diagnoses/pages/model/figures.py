"""Figures of a card as they are shown: with intervals, and what no lungs reach."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from ml.cards.card import Card

_FIGURES = (
    ("balanced_accuracy", "Balanced accuracy"),
    ("accuracy", "Accuracy"),
    ("mean_auc", "Mean AUC over the labels"),
    ("mean_auc_claimed", "Mean AUC over labels with enough images"),
    ("auc", "AUC"),
    ("expected_calibration_error", "Calibration error (ECE)"),
)
_LABEL_FIGURES = (
    ("auc", "AUC"),
    ("sensitivity", "Sensitivity"),
    ("specificity", "Specificity"),
    ("precision", "Precision"),
    ("f1", "F1"),
)
# Of softmax models the figures before rest on the highest probability, what a reader
# sees marked on the threshold.
_MARK_FIGURES = (
    ("sensitivity_at_threshold", "Sensitivity of the mark"),
    ("specificity_at_threshold", "Specificity of the mark"),
)
_IMAGES = "Images"
TOO_FEW = "too few"
_COVERAGE_COLUMNS = ("Images", "Not ruled out", "Left open")
# Of the risk-coverage curve: how many are wrong among the surest answers.
SUREST = (0.5, 0.8, 1.0)
# Parts of a metric's key, as `ml.training.packaging` writes them, in words.
_CHANGED_SUFFIX = "_crop_equalise"
_CHANGE = "crop-equalise"
CHANGED_WORDS = {
    _CHANGE: ", borders cropped and histograms equalised",
    "crop-tenth": ", the outer tenth cropped and histograms equalised",
    "corners-masked": ", corners masked",
    "lungs-only": ", lungs only",
    "shifted": ", shifted",
    "rotated": ", rotated",
    "rescaled": ", rescaled",
}


@dataclass(frozen=True)
class Cell:
    """A named value; `hash`: to be set in a fixed width."""

    name: str
    value: str
    hash: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure with its interval."""

    name: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class LabelRow:
    """A row of a table: a name, and its cells."""

    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class FigureGroup:
    """What was measured on one set of images, and the command that does it again."""

    title: str
    figures: Sequence[Figure]
    columns: Sequence[str]
    labels: Sequence[LabelRow]
    rows_are: str = "Label"
    command: str = ""


def figure_groups(
    metrics: Mapping[str, Any], *, label_names: Sequence[str]
) -> list[FigureGroup]:
    """Return the sets of images that a card has figures for, labels in its order."""
    return [
        figure_group(_title(key, measured), measured, label_names=label_names)
        for key, measured in metrics.items()
        if isinstance(measured, Mapping)
    ]


def figure_group(
    title: str, measured: Mapping[str, Any], *, label_names: Sequence[str]
) -> FigureGroup:
    """Return what was measured on one set of images, labels in the card's order."""
    labels = measured.get("labels") or {}
    shown = _LABEL_FIGURES
    if _marks_differ(labels):
        shown = (*_LABEL_FIGURES, *_MARK_FIGURES)
    return FigureGroup(
        title=title,
        figures=_figures(measured),
        columns=[*(word for _, word in shown), _IMAGES],
        labels=_label_rows(labels, label_names, shown),
        command=str(measured.get("command", "")),
    )


def _title(key: str, measured: Mapping[str, Any]) -> str:
    """Say which images were measured, as the command that measured them says it."""
    split, _, rest = key.removesuffix(_CHANGED_SUFFIX).partition("_")
    told = shlex.split(str(measured.get("command", "")))
    datasets = _values_of("--dataset", told) or ([rest.split("_")[0]] if rest else [])
    changes = _values_of("--change", told)
    changed = changes[0] if changes else _CHANGE if _CHANGED_SUFFIX in key else ""
    images = "Validation images" if split == "val" else f"{split.capitalize()} images"
    of = f" of {' and '.join(datasets)}" if datasets else ""
    return images + of + CHANGED_WORDS.get(changed, "") + _pair_words(measured)


def _values_of(option: str, told: Sequence[str]) -> list[str]:
    """Return what stands behind an option of a command line."""
    if option not in told:
        return []
    behind = told[told.index(option) + 1 :]
    return list(takewhile(lambda part: not part.startswith("--"), behind))


def _pair_words(measured: Mapping[str, Any]) -> str:
    pair = measured.get("pair") or []
    # As a part of its own it stands among the figures.
    return "" if isinstance(pair, Mapping) or not pair else f": {_against(pair)}"


def _against(pair: Sequence[str]) -> str:
    return " against ".join(side.replace("+", " or ") for side in pair)


def _figures(measured: Mapping[str, Any]) -> list[Figure]:
    counted = [
        f"{measured[name]} {name if name != 'n' else 'images'}"
        for name in ("n", "patients")
        if measured.get(name) is not None
    ]
    figures = [Figure("Measured on", ", ".join(counted))] if counted else []
    for name, word in _FIGURES:
        value = measured.get(name)
        if isinstance(value, Mapping):
            figures.append(interval_figure(word, value))
            figures += _without_lungs(word, measured.get("baseline") or {}, name)
    pair = measured.get("pair")
    if isinstance(pair, Mapping):
        told = {**pair, "baseline": (measured.get("baseline") or {}).get("pair")}
        named = _figures({key: told[key] for key in told if key not in ("n", "pair")})
        figures += [
            replace(each, name=f"{_against(pair['pair'])}: {each.name}")
            for each in named
        ]
    return figures


def _without_lungs(word: str, told: Mapping[str, Any], name: str) -> list[Figure]:
    """Return what a classifier without lungs reaches, and the model's lead over it."""
    beside = told.get("figures", told).get(name)
    if not beside:
        return []
    named = (("without lungs", "baseline"), ("lead over that", "lead"))
    figures = [interval_figure(f"{word}, {said}", beside[key]) for said, key in named]
    if beside.get("verdict"):
        figures.append(Figure(str(beside["verdict"]).capitalize(), word))
    return figures


def coverage_groups(card: Card) -> list[FigureGroup]:
    """Return what a card's sets or bands were worth on val, by source and by class."""
    claimed = [
        told["uncertainty"]
        for told in card.metrics.values()
        if isinstance(told, Mapping)
        and (told.get("uncertainty") or {}).get("claimed")
        and "--change" not in str(told.get("command", ""))
    ]
    if not claimed:
        return []
    # Of the largest set of images: the smaller ones are among its sources.
    checked = max(claimed, key=lambda told: int(told["n"]))
    figures = [
        Figure("Stated", two(checked["stated_coverage"])),
        interval_figure("Truth not ruled out", checked["coverage"]),
        interval_figure("Answer left open", checked["left_open"]),
    ]
    risks = {share: risk for share, risk in checked.get("risk_coverage") or ()}
    figures += [
        Figure(f"Errors among the surest {share:.0%}", two(risks[share]))
        for share in SUREST
        if share in risks
    ]
    rows = {**checked["by_source"], **checked["by_class"]}
    return [
        FigureGroup(
            title="How often the truth is among what is not ruled out",
            figures=figures,
            columns=_COVERAGE_COLUMNS,
            labels=[_coverage_row(name, found) for name, found in _flat(rows)],
        )
    ]


def interval_figure(name: str, told: Mapping[str, Any]) -> Figure:
    """Return a {value, low, high} under a name."""
    interval = f"{two(told.get('low'))}–{two(told.get('high'))}"
    return Figure(name, two(told.get("value")), interval)


def _flat(rows: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return sigmoid labels as two rows: images with it, and images without."""
    flat: list[tuple[str, Mapping[str, Any]]] = []
    for name, found in rows.items():
        if "with" in found:
            flat += [(f"{name}, {kind}", found[kind]) for kind in ("with", "without")]
        else:
            flat.append((name, found))
    return flat


def _coverage_row(name: str, told: Mapping[str, Any]) -> LabelRow:
    values = (
        (two(told["coverage"]["value"]), two(told["left_open"]["value"]))
        if told["claimed"]
        else (TOO_FEW, "–")
    )
    cells = (str(told["n"]), *values)
    return LabelRow(
        name,
        [Cell(c, v) for c, v in zip(_COVERAGE_COLUMNS, cells, strict=True)],
    )


def _marks_differ(labels: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a mark says another thing than the figures: of softmax models it does."""
    return any(
        key in found and found[key] != found.get(key.removesuffix("_at_threshold"))
        for found in labels.values()
        for key, _ in _MARK_FIGURES
    )


def _label_rows(
    labels: Mapping[str, Mapping[str, Any]],
    label_names: Sequence[str],
    shown: Sequence[tuple[str, str]],
) -> list[LabelRow]:
    """Return a row for each label with images; too few images have no metrics."""
    return [
        LabelRow(
            name,
            [
                *(Cell(word, _label_figure(found, key)) for key, word in shown),
                Cell(_IMAGES, str(found["positives"])),
            ],
        )
        # The database keeps no order of keys.
        for name in label_names
        if (found := labels.get(name)) and found.get("positives")
    ]


def _label_figure(found: Mapping[str, Any], key: str) -> str:
    if not found.get("claimed", True):
        return TOO_FEW
    low, high = (found.get("intervals") or {}).get(key) or (None, None)
    # A word joiner: the interval stands on one line, under its value if need be.
    interval = "" if low is None else f" ({two(low)}–\u2060{two(high)})"
    return f"{two(found.get(key))}{interval}"


def two(value: object) -> str:
    """Return a figure with two places, a dash where there is none."""
    return f"{value:.2f}" if isinstance(value, int | float) else "–"
