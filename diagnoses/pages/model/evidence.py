"""What a card says of its gate, of shortcuts and of its heat maps, as it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diagnoses.pages.model.figures import (
    CHANGED_WORDS,
    Cell,
    Figure,
    FigureGroup,
    LabelRow,
    interval_figure,
    two,
)
from ml.cards.card import Card

_REFUSED_COLUMNS = ("Images", "Refused", "95 % interval")
_HEAT_COLUMNS = ("Images", "Outside", "If spread evenly")
_SOURCE_COLUMNS = ("AUC", "95 % interval")
_POINTING_COLUMNS = ("Pairs", "Hit", "At random", "In the centre")
_CHANGE_FIGURES = {
    "balanced_accuracy": "Balanced accuracy",
    "mean_auc": "Mean AUC",
}
_BOX_PARTS = {"all": "All boxes", "train": "Of train", "val": "Of val"}
_ORDERS = {
    "heat": "by the heat map",
    "random": "at random",
    "centre": "from the centre",
}


def gate_groups(card: Card) -> list[FigureGroup]:
    """Return what the gate refuses of images, and of what is none."""
    val = (card.gate or {}).get("val") or {}
    if not val:
        return []
    real, wrong = val["real"], val["must_be_refused"]
    figures = [
        _share_figure("Images refused", real["refused"]),
        _share_figure("Other pictures refused", wrong["refused"]),
        Figure("AUROC of images against other pictures", f"{wrong['auroc']:.3f}"),
    ]
    images = {
        **real["by_source"],
        **_if_several(real["by_view"]),
        **_if_several(real["by_age"]),
    }
    return [
        FigureGroup(
            "Images of the split val",
            figures,
            _REFUSED_COLUMNS,
            _refused(images),
            rows_are="Source and view",
        ),
        FigureGroup(
            "What must be refused, by its pixels alone",
            [],
            _REFUSED_COLUMNS,
            _refused(wrong["by_kind"]),
            rows_are="Kind",
            command=str(val["command"]),
        ),
    ]


def _if_several(rows: Mapping[str, Any]) -> Mapping[str, Any]:
    return rows if len(rows) > 1 else {}


def _share_figure(name: str, told: Mapping[str, Any]) -> Figure:
    interval = f"{told['low']:.1%}–{told['high']:.1%}"
    return Figure(f"{name}, of {told['n']}", f"{told['share']:.1%}", interval)


def _refused(rows: Mapping[str, Mapping[str, Any]]) -> list[LabelRow]:
    return [
        _row(
            name,
            _REFUSED_COLUMNS,
            str(told["n"]),
            f"{told['share']:.0%}",
            f"{told['low']:.0%}–{told['high']:.0%}",
        )
        for name, told in rows.items()
    ]


def shortcut_groups(card: Card) -> list[FigureGroup]:
    """Return how far a model may rest on what is not in the lungs."""
    told = card.shortcuts
    if not told:
        return []
    groups = [
        _changed_group(f"Images changed: {part}", changes)
        for part, changes in told["changes"].items()
    ]
    if told.get("before"):
        groups += [
            _changed_group(f"Trained without varied crops and tones: {part}", changes)
            for part, changes in told["before"]["changes"].items()
        ]
    pairs = (told.get("sources") or {}).get("pairs") or []
    if pairs:
        rows = [
            _row(
                f"{pair['label']}: {' or '.join(pair['sources'])}",
                _SOURCE_COLUMNS,
                two(pair["auc"]["value"]),
                _interval(pair["auc"]),
            )
            for pair in pairs
        ]
        groups.append(
            FigureGroup(
                "How well the network's features tell the source, within one class",
                [],
                _SOURCE_COLUMNS,
                rows,
                rows_are="Class and sources",
            )
        )
    heat = told.get("heat_outside_lungs")
    if heat:
        groups.append(_heat_group(heat))
    groups[-1] = _with_command(groups[-1], told)
    return groups


def _changed_group(title: str, changes: Mapping[str, Any]) -> FigureGroup:
    names = [
        name
        for name in _CHANGE_FIGURES
        if changes["none"].get(name, {}).get("value") is not None
    ]
    columns = [
        column
        for name in names
        for column in (_CHANGE_FIGURES[name], f"{_CHANGE_FIGURES[name]}, change")
    ]
    rows = []
    for change, found in changes.items():
        if change == "images":
            continue
        values = []
        for name in names:
            apart = found.get(f"{name}_change")
            values += [two(found[name]["value"]), _signed(apart) if apart else "–"]
        words = CHANGED_WORDS.get(change, "").removeprefix(", ") or "as they are"
        rows.append(_row(words.capitalize(), columns, *values))
    figures = [Figure("Measured on", f"{changes['images']} images")]
    return FigureGroup(title, figures, columns, rows, rows_are="Change")


def _signed(told: Mapping[str, Any]) -> str:
    if told.get("value") is None:
        return "–"
    return f"{told['value']:+.2f} ({told['low']:+.2f} to {told['high']:+.2f})"


def _heat_group(heat: Mapping[str, Any]) -> FigureGroup:
    rows = [
        _row(
            name,
            _HEAT_COLUMNS,
            str(told["images"]),
            two(told["outside"]["value"]),
            two(told["outside_if_even"]["value"]),
        )
        for name, told in heat["labels"].items()
    ]
    return FigureGroup("Share of the heat outside the lungs", [], _HEAT_COLUMNS, rows)


def heat_map_groups(card: Card) -> list[FigureGroup]:
    """Return how well heat maps point, explain, and depend on what was learned."""
    told = card.heat_map_measures
    if not told:
        return []
    groups = []
    if told.get("pointing_game"):
        rows = [
            _row(
                {"all": "All boxes", "train": "Of train", "val": "Of val"}.get(
                    part, part
                ),
                _POINTING_COLUMNS,
                str(found["images_and_labels"]),
                f"{two(found['hit']['value'])} ({_interval(found['hit'])})",
                two(found["random"]["value"]),
                two(found["centre"]["value"]),
            )
            for part, found in told["pointing_game"].items()
        ]
        groups.append(
            FigureGroup(
                "Pointing game: is the hottest cell inside a radiologist's box?",
                [],
                _POINTING_COLUMNS,
                rows,
                rows_are="Boxes",
            )
        )
    groups.append(_curves_group(told))
    return groups


def _curves_group(told: Mapping[str, Any]) -> FigureGroup:
    curves, random = told["insertion_deletion"], told["randomisation"]
    last = random["stages"][-1]["rank_correlation"]
    figures = [
        Figure("Measured on", f"{curves['images']} images"),
        *(
            interval_figure(f"{name}, {words}", curves[name.lower()][order])
            for name in ("Insertion", "Deletion")
            for order, words in _ORDERS.items()
        ),
        interval_figure("Alike after the weights are destroyed", last),
        Figure("Weight randomisation check", _check_words(random["passed"], last)),
    ]
    return _with_command(
        FigureGroup(
            "Insertion (more is better), deletion (less is better), randomisation",
            figures,
            (),
            (),
        ),
        told,
    )


def _check_words(passed: bool, last: Mapping[str, Any]) -> str:
    if last.get("value") is None:
        return "cannot be told: the maps of the destroyed network are flat"
    return "passed" if passed else "NOT passed"


def _with_command(group: FigureGroup, told: Mapping[str, Any]) -> FigureGroup:
    return replace(group, command=str(told.get("command", "")))


def _interval(told: Mapping[str, Any]) -> str:
    return f"{two(told.get('low'))}–{two(told.get('high'))}"


def _row(name: str, columns: Sequence[str], *values: str) -> LabelRow:
    return LabelRow(name, [Cell(c, v) for c, v in zip(columns, values, strict=True)])
