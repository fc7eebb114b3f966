"""The card of a version, and which threshold it judges a label by."""

from __future__ import annotations

from diagnoses.governance.versions import card_of, thresholds_of
from diagnoses.models import ModelVersion, OperatingPoint


def test_the_latest_threshold_is_in_force(chest_model: ModelVersion) -> None:
    label = "Tuberculosis"
    for value, when in ((0.2, "2026-01-01"), (0.3, "2026-02-01"), (0.9, "2999-01-01")):
        OperatingPoint.objects.create(
            model_version=chest_model,
            label=label,
            value=value,
            method="tests",
            effective_from=f"{when}T00:00Z",
        )
    thresholds = thresholds_of(chest_model)
    assert (thresholds[label].value, thresholds[label].source) == (
        0.3,
        "operating_point",
    )
    assert (thresholds["Normal"].value, thresholds["Normal"].source) == (0.5, "card")


def test_a_card_is_parsed_once_while_it_is_the_same(chest_model: ModelVersion) -> None:
    card = card_of(chest_model)
    assert card_of(ModelVersion.objects.get()) is card
    changed = {**chest_model.card, "intended_use": "other tests"}
    ModelVersion.objects.update(card=changed)
    assert card_of(ModelVersion.objects.get()).intended_use == "other tests"
