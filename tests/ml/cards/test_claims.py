"""What a card claims: computed from its own measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ml.cards.card import default_card, list_cards
from ml.cards.claims import claimed_labels, weakness_of
from ml.cards.measurements import (
    BaselineValue,
    Estimate,
    LabelMetrics,
    Measurement,
    Metric,
)
from tests.ml.cards.shipped_claims import FILE, shipped_claims

BASELINE = BaselineValue(value=0.7, lead=Estimate(0.1))
AS_GOOD = replace(BASELINE, separable=False)


@dataclass
class ACard:
    """The parts of a card that the rules read."""

    measurements: tuple[Measurement, ...]
    label_names: tuple[str, ...] = ("Pneumonia",)
    members: tuple[Any, ...] = ()


def measured(
    *,
    low: float = 0.8,
    baseline: BaselineValue | None = None,
    model_baseline: BaselineValue | None = None,
    enough: bool = True,
    datasets: tuple[str, ...] = ("kermany",),
    change: str | None = None,
) -> Measurement:
    auc = Metric("auc", 0.9, low, 0.95, baseline=baseline)
    return Measurement(
        key="val",
        split="val",
        datasets=datasets,
        images=100,
        patients=100,
        command=(),
        metrics=(Metric("mean_auc", 0.9, low, 0.95, baseline=model_baseline),),
        change=change,
        labels=(LabelMetrics("Pneumonia", (auc,), claimed=enough),),
    )


@pytest.mark.parametrize(
    ("measurements", "claimed"),
    [
        ([measured()], True),
        ([measured(baseline=BASELINE)], True),
        ([measured(baseline=BASELINE), measured(baseline=AS_GOOD)], True),
        ([measured(baseline=BASELINE, datasets=("a", "b"))], False),
        ([], False),
        ([measured(low=0.5)], False),
        ([measured(enough=False)], False),
        ([measured(change="cropped")], False),
        ([measured(baseline=AS_GOOD)], False),
        ([measured(datasets=("a", "b"))], False),
        ([measured(), measured(baseline=AS_GOOD, datasets=("a", "b"))], False),
    ],
)
def test_an_accuracy_is_claimed_where_it_is_shown_within_a_source(
    measurements: list[Measurement], claimed: bool
) -> None:
    card: Any = ACard(tuple(measurements))
    assert claimed_labels(card) == (("Pneumonia",) if claimed else ())


@pytest.mark.parametrize(
    ("measurements", "at_chance"),
    [
        ([measured(low=0.51)], False),
        ([measured(low=0.5)], True),
        ([measured(low=0.43), measured(low=0.6)], False),
        ([measured(low=0.43), measured(low=0.6, datasets=("nih-emphysema",))], True),
        ([measured(low=0.43), measured(low=0.6, datasets=("nih", "tb"))], True),
        ([measured(low=0.43), measured(low=0.6, change="cropped")], True),
        ([measured(low=0.6, datasets=("nih", "nih-emphysema"))], False),
        ([], False),
    ],
)
def test_a_model_is_at_chance_if_no_measurement_of_a_whole_source_exceeds_it(
    measurements: list[Measurement], at_chance: bool
) -> None:
    card: Any = ACard(tuple(measurements))
    weakness = weakness_of(card)
    assert (weakness is not None) == at_chance
    assert weakness is None or not weakness.beside_baseline


@pytest.mark.parametrize(
    ("measurements", "weak"),
    [
        ([measured(model_baseline=AS_GOOD)], True),
        ([measured(model_baseline=BASELINE)], False),
        ([measured(model_baseline=AS_GOOD), measured(model_baseline=BASELINE)], False),
        ([measured(model_baseline=AS_GOOD), measured()], True),
        (
            [
                measured(model_baseline=AS_GOOD),
                measured(model_baseline=BASELINE, datasets=("kermany", "tb")),
            ],
            True,
        ),
    ],
)
def test_a_model_is_weak_if_the_baseline_reads_every_whole_source_as_well(
    measurements: list[Measurement], weak: bool
) -> None:
    card: Any = ACard(tuple(measurements))
    weakness = weakness_of(card)
    assert (weakness is not None) == weak
    assert weakness is None or weakness.beside_baseline


def test_the_shipped_cards_claim_what_was_read_before() -> None:
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    assert shipped_claims() == stored, "python -m tests.ml.cards.shipped_claims"


def test_one_shipped_model_is_the_default_and_claims_an_accuracy() -> None:
    defaults = {card.name for card in list_cards() if card.contents.default}
    assert defaults == {default_card().name}
    assert claimed_labels(default_card())
    assert weakness_of(default_card()) is None
