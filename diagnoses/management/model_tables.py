"""Text that quotes metrics of the shipped cards, generated from the cards.

A Markdown file marks a generated block with `<!-- generated: NAME -->` and
`<!-- end of NAME -->`. The limits on a card quote its own metrics and are generated as
well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.cards.card import Card, default_card, get_card, list_cards
from ml.cards.limits import limits_of, limits_of_ensemble
from ml.cards.quoted import with_metrics
from ml.cards.texts import FACTS
from ml.errors import ModelError

FILES = (Path("README.md"), Path("docs/model-cards.md"))
_BLOCK = re.compile(
    r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?"
    r"(?P<end><!-- end of (?P=name) -->)",
    re.DOTALL,
)


@dataclass(frozen=True)
class MetricRow:
    """A row of the table of metrics; an empty `model` continues the row above.

    `metric` is a path of `ml.cards.quoted`; `baseline`: the border-and-histogram
    baseline's metric stands beside it.
    """

    card: str
    model: str
    measured: str
    metric: str = ""
    baseline: bool = False


MEAN_AUC = "within nih-emphysema, mean AUC over all labels with images of both kinds"
METRIC_ROWS = (
    MetricRow(
        "chestx6-resnet50",
        "`chestx6-resnet50`, six classes",
        "normal, bacterial, viral pneumonia in children (kermany, {val_kermany.images} "
        "images): balanced accuracy",
        "val_kermany.balanced_accuracy",
        baseline=True,
    ),
    MetricRow(
        "chestx6-resnet50",
        "",
        "bacterial against viral, AUC",
        "val_kermany.pair.auc",
        baseline=True,
    ),
    MetricRow(
        "chestx6-resnet50",
        "",
        "the three classes, outer tenth cropped and histograms equalised",
        "val_kermany_crop_tenth.balanced_accuracy",
    ),
    MetricRow(
        "pneumonia-cnn",
        "`pneumonia-cnn`, yes or no",
        "kermany: accuracy (sensitivity {val_kermany.Pneumonia.sensitivity})",
        "val_kermany.accuracy",
        baseline=True,
    ),
    MetricRow(
        "pneumonia-cnn",
        "",
        "outer tenth cropped and histograms equalised: accuracy",
        "val_kermany_crop_tenth.accuracy",
    ),
    MetricRow(
        "pneumonia-cnn",
        "",
        "nih, adults, never trained on: AUC",
        "val_nih_never_trained_on.mean_auc",
    ),
    MetricRow(
        "brain-tumour-xception",
        "`brain-tumour-xception`, four classes",
        "{val_brain_mri.images} slices that flatter: neighbours of a patient may stand "
        "on both sides; accuracy",
        "val_brain_mri.accuracy",
        baseline=True,
    ),
    MetricRow(
        "nih15-xception",
        "`nih15-xception`, 15 labels",
        MEAN_AUC,
        "val_nih_emphysema.mean_auc",
        baseline=True,
    ),
    MetricRow(
        "nih15-cnn",
        "`nih15-cnn`, 15 labels",
        MEAN_AUC,
        "val_nih_emphysema.mean_auc",
        baseline=True,
    ),
    MetricRow(
        "tuberculosis-resnet50",
        "`tuberculosis-resnet50`, yes or no",
        "source not separable from disease: no accuracy claimed",
    ),
    MetricRow(
        "chest-ensemble",
        "`chest-ensemble`",
        "mean of calibrated members for the labels they share; no weights of its own",
    ),
)
CHESTX6_SOURCES = (
    "- **Source is confounded with disease.** Pneumonia comes from one children's "
    "hospital; COVID-19, Tuberculosis and Emphysema\n"
    "  each from one collection of adults. The border-and-histogram baseline reaches "
    "an AUC of {val.Tuberculosis.auc.baseline} for Tuberculosis\n"
    "  and of {val.Emphysema.auc.baseline} for Emphysema. No accuracy is claimed for "
    "those three classes.\n"
    "- **What still means something** is measured within one source: the three classes "
    "of the children's images (`val_kermany`:\n"
    "  balanced accuracy {val_kermany.balanced_accuracy|interval}, baseline "
    "{val_kermany.balanced_accuracy.baseline|interval}), and bacterial against\n"
    "  viral pneumonia among them (AUC {val_kermany.pair.auc|interval}, baseline "
    "{val_kermany.pair.auc.baseline|interval}).\n"
    "- **The same with the outer tenth cropped and histograms equalised** "
    "(`val_kermany_crop_tenth`: balanced accuracy\n"
    "  {val_kermany_crop_tenth.balanced_accuracy|interval}) shows how much rests on "
    "what is not in the lungs.\n"
)


def with_generated_blocks(text: str) -> str:
    """Return a Markdown text with its generated blocks written anew.

    Raises:
        ModelError: A block has an unknown name, or a card lacks a metric.
    """

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise ModelError("There is no block %(name)s.", params={"name": name})
        return f"{match['start']}{BLOCKS[name]()}{match['end']}"

    return _BLOCK.sub(block, text)


def limits_from_metrics(card: Card) -> list[str]:
    """Return the limits of a shipped card with the metrics that they quote.

    Raises:
        ModelError: The card lacks a metric that a limit quotes.
    """
    if card.members:
        return limits_of_ensemble([get_card(m.name, m.version) for m in card.members])
    if card.name not in FACTS:
        return list(card.limits)
    return limits_of(FACTS[card.name], card.measurements, card.training_data)


def shipped_cards() -> Sequence[Card]:
    """Return the cards in the tree, ensembles last: they repeat limits of members."""
    return sorted(list_cards(), key=lambda card: bool(card.members))


def _metrics_table() -> str:
    lines = [
        "| model | measured within one source | metric "
        "| border-and-histogram baseline |",
        "|---|---|---|---|",
    ]
    for row in METRIC_ROWS:
        card = get_card(row.card)
        metric = f"{{{row.metric}|interval}}" if row.metric else ""
        baseline = f"{{{row.metric}.baseline|interval}}" if row.baseline else ""
        line = f"| {row.model} | {row.measured} | {metric} | {baseline} |"
        lines.append(with_metrics(line, card.measurements, card.training_data))
    return "\n".join(lines) + "\n"


def _chestx6_sources() -> str:
    return with_metrics(CHESTX6_SOURCES, default_card().measurements)


BLOCKS: dict[str, Callable[[], str]] = {
    "metrics": _metrics_table,
    "chestx6-sources": _chestx6_sources,
}
