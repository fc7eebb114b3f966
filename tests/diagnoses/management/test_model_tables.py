"""Metrics that texts quote are those of the shipped cards."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from diagnoses.management import model_tables
from diagnoses.management.model_tables import FILES, with_generated_blocks
from ml.cards.card import Card
from ml.cards.measurements import Estimate
from ml.cards.quoted import NOT_MEASURED, with_metrics
from ml.errors import ModelError
from ml.evaluation.goals import Figure, Goal, Target
from tests.ml.cards.test_upgrade import interval, measured

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[3]


def test_readme_docs_limits_and_schema_agree_with_the_cards() -> None:
    call_command("model_tables", "--check")


@pytest.mark.parametrize("name", FILES, ids=str)
def test_each_file_has_a_generated_block(name: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- generated: " in text
    assert with_generated_blocks(text) == text


def test_a_metric_changed_by_hand_is_detected_and_rewritten(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BASE_DIR = tmp_path
    for name in (*FILES, Path("ml/cards/card.schema.json")):
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace("| 0.80", "| 0.99"), "utf-8")
    with pytest.raises(CommandError, match=r"differ from the cards.*README\.md"):
        call_command("model_tables", "--check")
    call_command("model_tables")
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert written == (ROOT / "README.md").read_text(encoding="utf-8")


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(ModelError, match="no block unknown"):
        with_generated_blocks("<!-- generated: unknown -->\n<!-- end of unknown -->")


def test_placeholders_are_filled_from_measurements() -> None:
    card = measured(accuracy=interval(0.5), pair={"pair": ["A", "B"], "n": 1})
    assert with_metrics("{val_nih.images}: {val_nih.accuracy}", card.measurements) == (
        "9: 0.50"
    )
    text = with_metrics("{val_nih.accuracy|interval}", card.measurements)
    assert text == "0.50 (0.38 to 0.62)"
    assert with_metrics("{val.accuracy}", ()) == NOT_MEASURED
    for wrong in ("val.accuracy", "val_nih.auc", "val_nih.pair.auc", "val_nih.X.auc"):
        with pytest.raises(ModelError, match="quotes"):
            with_metrics(f"{{{wrong}}}", card.measurements)


def test_ml_names_no_command_of_the_application() -> None:
    for path in (ROOT / "ml").rglob("*.py"):
        assert "manage.py" not in path.read_text(encoding="utf-8"), path


def test_a_goal_without_a_model_or_a_figure_says_so(
    monkeypatch: pytest.MonkeyPatch, plain_card: Card
) -> None:
    monkeypatch.setattr(model_tables, "list_cards", lambda: [plain_card])
    monkeypatch.setattr(model_tables, "get_card", lambda name: plain_card)
    figure = Figure(Estimate(0.5, 0.4, 0.6), Estimate(0.25))
    goals = (
        Goal("elsewhere", lambda card: figure, Target(at_least=0.5), ("other",)),
        Goal("nowhere", lambda card: None, Target(at_least=0.5), ("tiny",)),
        Goal("here", lambda card: figure, Target(at_least=0.5), ("tiny",)),
        Goal("worst", lambda card: figure, Target(at_most=0.1)),
    )
    monkeypatch.setattr(model_tables, "GOALS", goals)
    block = "<!-- generated: goals -->\n<!-- end of goals -->"
    assert with_generated_blocks(block).splitlines()[3:-1] == [
        "| elsewhere | no model |  |  | 0.50 |  |",
        "| nowhere | `tiny` | not measured |  | 0.50 |  |",
        "| here | `tiny` | 0.500 (0.400 to 0.600) | 0.250 | 0.50 | reached |",
        "| worst | worst: `tiny` | 0.500 (0.400 to 0.600) | 0.250 | at most 0.10 "
        "| missed |",
    ]
