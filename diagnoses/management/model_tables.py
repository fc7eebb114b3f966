"""Text that quotes metrics of the shipped cards, generated from the cards.

A Markdown file marks a generated block with `<!-- generated: NAME -->` and
`<!-- end of NAME -->`. The limits on a card quote its own metrics and are generated as
well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ml.cards.card import Card, default_card, get_card, list_cards
from ml.cards.limits import limits_of, limits_of_ensemble
from ml.cards.quoted import quoted, with_metrics
from ml.cards.texts import FACTS
from ml.errors import ModelError
from ml.evaluation.goals import GOALS, Goal, Outcome, Value, outcomes_of

NOT_MEASURED = "not measured"
FILES = (Path("README.md"), Path("docs/model-cards.md"))
_BLOCK = re.compile(
    r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?"
    r"(?P<end><!-- end of (?P=name) -->)",
    re.DOTALL,
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


def _goals_table() -> str:
    cards = [get_card(name) for name in sorted({card.name for card in list_cards()})]
    lines = [
        "| measure | model | value (95 % interval) | baseline | goal | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [line for goal in GOALS for line in _goal_lines(goal, cards)]
    return "\n".join(lines) + "\n"


def _goal_lines(goal: Goal, cards: Sequence[Card]) -> Iterator[str]:
    """Yield a row for each model of a goal, or the one row that says there is none."""
    outcomes = outcomes_of(goal, cards)
    if not outcomes:
        model, figure = ("no model", "") if goal.models else ("", NOT_MEASURED)
        yield _table_line(goal.measure, model, figure, "", str(goal.target), "")
    for outcome in outcomes:
        worst = "" if goal.models else "worst: "
        yield _table_line(
            goal.measure,
            f"{worst}`{outcome.card.name}`",
            *_figure_cells(outcome),
            str(goal.target),
            {True: "reached", False: "missed", None: ""}[outcome.reached],
        )


def _figure_cells(outcome: Outcome) -> tuple[str, str]:
    figure = outcome.figure
    if figure is None:
        return NOT_MEASURED, ""
    if figure.baseline is None:
        return _written(figure.value), ""
    named = f"{outcome.goal.baseline}: " if outcome.goal.baseline else ""
    return _written(figure.value), f"{named}{_written(figure.baseline)}"


def _written(value: Value) -> str:
    # Three digits: two would hide on which side of a goal a value lies.
    return quoted(value, interval=True, digits=3)


def _table_line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _chestx6_sources() -> str:
    return with_metrics(CHESTX6_SOURCES, default_card().measurements)


BLOCKS: dict[str, Callable[[], str]] = {
    "goals": _goals_table,
    "chestx6-sources": _chestx6_sources,
}
