"""What a card says about its gate, shortcuts and heat maps, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.pages.model.metrics import (
    CHANGE_NAMES,
    NO_VALUE,
    MetricGroup,
    MetricLine,
    Row,
    interval_line,
    interval_text,
    table_row,
    two_digits,
)
from ml.cards.card import Card
from ml.cards.contents import Shortcuts
from ml.cards.measurements import (
    ChangedImages,
    Estimate,
    HeatMapMeasures,
    HeatOutsideLungs,
    Metric,
    PointingGame,
    RefusedKind,
    Share,
    SourcePair,
    command_text,
)

_CHANGED_METRICS: Mapping[str, tuple[str | Promise, str | Promise]] = {
    "balanced_accuracy": (_("Balanced accuracy"), _("Balanced accuracy, change")),
    "mean_auc": (_("Mean AUC"), _("Mean AUC, change")),
}
_BOXES: Mapping[str, str | Promise] = {
    "all": _("All boxes"),
    "train": _("Training images"),
    "held-out": _("Training images held out from learning"),
    "unseen": _("Images not learned from"),
    "val": _("Validation images"),
}
_INSERTION: Mapping[str, str | Promise] = {
    "heat": _("Insertion, by the heat map"),
    "random": _("Insertion, at random"),
    "centre": _("Insertion, from the centre"),
}
_DELETION: Mapping[str, str | Promise] = {
    "heat": _("Deletion, by the heat map"),
    "random": _("Deletion, at random"),
    "centre": _("Deletion, from the centre"),
}


def gate_groups(card: Card) -> list[MetricGroup]:
    """Return what the gate refuses of real images, and of other pictures."""
    trial = card.gate.val if card.gate else None
    if not trial:
        return []
    real, wrong = trial.real, trial.must_be_refused
    lines = [
        _share_line(gettext("Images refused, of %(n)d"), real.refused),
        _share_line(gettext("Other pictures refused, of %(n)d"), wrong.refused),
    ]
    if wrong.auroc is not None:
        lines.append(
            MetricLine(
                gettext("AUROC of images against other pictures"), f"{wrong.auroc:.3f}"
            )
        )
    images: dict[str, Share] = {
        **real.by_source,
        **_if_several(real.by_view),
        **_if_several(real.by_age),
    }
    columns = [gettext("Images"), gettext("Refused"), gettext("95 % interval")]
    return [
        MetricGroup(
            title=gettext("Validation images"),
            metrics=lines,
            columns=columns,
            rows=_refused_rows(images, columns),
            rows_are=_("Source and view"),
        ),
        MetricGroup(
            title=gettext("Pictures that must be refused by their pixels alone"),
            columns=columns,
            rows=_refused_rows(wrong.by_kind, columns),
            rows_are=_("Kind"),
            command=command_text(trial.command),
        ),
    ]


def shortcut_groups(card: Card) -> list[MetricGroup]:
    """Return how far a model may rest on what is not in the lungs."""
    shortcuts = card.shortcuts
    if not shortcuts:
        return []
    groups = _changed_groups(shortcuts)
    if shortcuts.sources and shortcuts.sources.pairs:
        groups.append(_sources_group(shortcuts.sources.pairs))
    if shortcuts.heat_outside_lungs:
        groups.append(_heat_group(shortcuts.heat_outside_lungs))
    groups[-1] = replace(groups[-1], command=command_text(shortcuts.command))
    return groups


def not_separable_statement(card: Card) -> str:
    """Say by which metrics the border-and-histogram baseline does as well."""
    parts = [
        gettext("%(images)s (%(metrics)s)")
        % {
            "images": _part_name(comparison.part),
            "metrics": ", ".join(comparison.not_separable).replace("_", " "),
        }
        for comparison in (card.shortcuts.baseline if card.shortcuts else ())
        if comparison.not_separable
    ]
    if not parts:
        return ""
    return gettext(
        "Source not separable from disease: the border-and-histogram baseline does as "
        "well on %(parts)s."
    ) % {"parts": "; ".join(parts)}


def heat_map_groups(card: Card) -> list[MetricGroup]:
    """Return how well heat maps point and explain, and whether they were learned."""
    measures = card.heat_map_measures
    if not measures:
        return []
    groups = []
    if measures.pointing_game:
        groups.append(_pointing_group(measures.pointing_game))
    groups.append(_curves_group(measures))
    return groups


def _if_several(rows: Mapping[str, Share]) -> Mapping[str, Share]:
    return rows if len(rows) > 1 else {}


def _share_line(name: str, share: Share) -> MetricLine:
    return MetricLine(
        name % {"n": share.n}, _percent(share.share, 1), _percents(share, 1)
    )


def _percent(share: float | None, digits: int) -> str:
    return NO_VALUE if share is None else f"{share:.{digits}%}"


def _percents(share: Share | RefusedKind, digits: int) -> str:
    return f"{_percent(share.low, digits)}–{_percent(share.high, digits)}"


def _refused_rows(
    shares: Mapping[str, Share] | Mapping[str, RefusedKind], columns: Sequence[str]
) -> list[Row]:
    return [
        table_row(
            name, columns, str(share.n), _percent(share.share, 0), _percents(share, 0)
        )
        for name, share in shares.items()
    ]


def _part_name(part: str) -> str:
    return gettext("all images") if part == "all" else part


def _changed_groups(shortcuts: Shortcuts) -> list[MetricGroup]:
    groups = [
        _changed_group(
            gettext("Images changed: %(images)s") % {"images": _part_name(part)},
            list(images),
        )
        for part, images in _by_part(shortcuts.changes)
    ]
    if shortcuts.before:
        groups += [
            _changed_group(
                gettext("Trained without varied crops and tones: %(images)s")
                % {"images": _part_name(part)},
                list(images),
            )
            for part, images in _by_part(shortcuts.before.changes)
        ]
    return groups


def _by_part(
    changes: Sequence[ChangedImages],
) -> Iterable[tuple[str, Iterable[ChangedImages]]]:
    return groupby(changes, key=lambda changed: changed.part)


def _changed_group(title: str, changes: Sequence[ChangedImages]) -> MetricGroup:
    unchanged = {
        metric.name
        for changed in changes
        if not changed.change
        for metric in changed.metrics
        if metric.value is not None
    }
    names = [name for name in _CHANGED_METRICS if name in unchanged]
    columns = [str(words) for name in names for words in _CHANGED_METRICS[name]]
    rows = []
    for changed in changes:
        metrics = {metric.name: metric for metric in changed.metrics}
        values = [text for name in names for text in _changed_cells(metrics.get(name))]
        rows.append(table_row(_change_name(changed.change), columns, *values))
    return MetricGroup(
        title=title,
        metrics=[
            MetricLine(
                gettext("Measured on"),
                gettext("%(images)d images") % {"images": changes[0].images},
            )
        ],
        columns=columns,
        rows=rows,
        rows_are=_("Change"),
    )


def _changed_cells(metric: Metric | None) -> tuple[str, str]:
    if metric is None:
        return NO_VALUE, NO_VALUE
    return two_digits(metric.value), _signed(metric.difference)


def _change_name(change: str | None) -> str:
    if change is None:
        return gettext("As they are")
    return str(CHANGE_NAMES.get(change, change)).capitalize()


def _signed(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return NO_VALUE
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.2f}"
    return gettext("%(value)s (%(low)s to %(high)s)") % {
        "value": f"{estimate.value:+.2f}",
        "low": f"{estimate.low:+.2f}",
        "high": f"{estimate.high:+.2f}",
    }


def _sources_group(pairs: Sequence[SourcePair]) -> MetricGroup:
    columns = [gettext("AUC"), gettext("95 % interval")]
    rows = [
        table_row(
            gettext("%(label)s: %(first)s or %(second)s")
            % {
                "label": pair.label,
                "first": pair.sources[0],
                "second": pair.sources[1],
            },
            columns,
            two_digits(pair.auc.value),
            interval_text(pair.auc),
        )
        for pair in pairs
    ]
    return MetricGroup(
        title=gettext(
            "How well the network's features tell sources of one class apart"
        ),
        columns=columns,
        rows=rows,
        rows_are=_("Class and sources"),
    )


def _heat_group(heat: HeatOutsideLungs) -> MetricGroup:
    columns = [gettext("Images"), gettext("Outside"), gettext("If spread evenly")]
    rows = [
        table_row(
            name,
            columns,
            str(of_label.images),
            two_digits(of_label.outside.value),
            two_digits(of_label.outside_if_even.value),
        )
        for name, of_label in heat.labels.items()
    ]
    return MetricGroup(
        title=gettext("Share of the heat outside the lungs"), columns=columns, rows=rows
    )


def _pointing_group(parts: Mapping[str, PointingGame]) -> MetricGroup:
    columns = [
        gettext("Images and labels"),
        gettext("Hit"),
        gettext("At random"),
        gettext("In the centre"),
        gettext("Lead over the centre"),
    ]
    rows = [
        table_row(
            str(_BOXES.get(part, part)),
            columns,
            _played(game),
            f"{two_digits(game.hit.value)} ({interval_text(game.hit)})",
            two_digits(game.random.value),
            two_digits(game.centre.value),
            _signed(game.lead_over_centre),
        )
        for part, game in parts.items()
    ]
    return MetricGroup(
        title=gettext("Pointing game: is the hottest cell inside a radiologist's box?"),
        columns=columns,
        rows=rows,
        rows_are=_("Boxes"),
    )


def _played(game: PointingGame) -> str:
    if not game.empty:
        return str(game.images_and_labels)
    return gettext("%(number)d, %(empty)d maps empty") % {
        "number": game.images_and_labels,
        "empty": game.empty,
    }


def _curves_group(measures: HeatMapMeasures) -> MetricGroup:
    curves, randomisation = measures.insertion_deletion, measures.randomisation
    destroyed = randomisation.stages[-1].rank_correlation
    lines = [
        MetricLine(
            gettext("Measured on"),
            gettext("%(images)d images") % {"images": curves.images},
        ),
        *(
            interval_line(str(words), areas[order])
            for areas, names in (
                (curves.insertion, _INSERTION),
                (curves.deletion, _DELETION),
            )
            for order, words in names.items()
        ),
        interval_line(
            gettext("Rank correlation after the weights are destroyed"), destroyed
        ),
        MetricLine(
            gettext("Weight randomisation check"),
            _check_result(randomisation.passed, destroyed),
        ),
    ]
    return MetricGroup(
        title=gettext(
            "Insertion (more is better), deletion (less is better), randomisation"
        ),
        metrics=lines,
        command=command_text(measures.command),
    )


def _check_result(passed: bool, destroyed: Estimate) -> str:
    if destroyed.value is None:
        return gettext("not possible: the maps of the destroyed network are flat")
    return gettext("passed") if passed else gettext("NOT passed")
