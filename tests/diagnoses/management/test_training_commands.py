"""The training commands on a synthetic data set in a published layout."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from pytest_django.fixtures import Settings

from diagnoses.management.command_lines import (
    cross_validation_command,
    evaluation_command,
    training_command,
)
from diagnoses.management.recipe_options import add_recipe_options, asked_for
from ml.datasets.manifest import with_split
from ml.datasets.read import read_dataset
from ml.training.recipes import RECIPES, Distillation, Recipe, Refinements, Stage
from tests.default_model import DEFAULT_MODEL
from tests.ml.image_factory import chest_like, encoded, stripes
from tests.ml.training.test_run import RECIPE

pytestmark = pytest.mark.slow

FOLDERS = {
    "NORMAL": "IM-{:04d}-0001.jpeg",
    "PNEUMONIA": "person{}_bacteria_{}.jpeg",
}


def write_chest_xray(root: Path) -> Path:
    """Write images as Kaggle lays out the children's: train and test, no val."""
    for split, first, count in (("train", 1, 40), ("test", 900, 3)):
        for kind, folder in enumerate(FOLDERS):
            for number in range(first, first + count):
                image = chest_like(48, 40, seed=1000 * kind + number) // 257
                image[stripes(image.shape, kind=kind)] = 255
                path = root / split / folder / FOLDERS[folder].format(number, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(image.astype("u1"), ".png"))
    return root


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Let the commands know a recipe for the tiny network."""
    tiny = replace(
        RECIPE,
        name="pneumonia-tiny",
        labels=RECIPE.labels[:2],
        class_shares={"Normal": 0.5, "Bacterial pneumonia": 0.5},
        epoch_images=16,
        stages=(Stage(0.0, 32),),
        measured_dataset="kermany",
        packaged=False,
    )
    monkeypatch.setitem(RECIPES, tiny.name, tiny)
    return tiny


def test_a_published_layout_can_be_tuned_and_trained_without_a_manifest(
    recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write_chest_xray(tmp_path / "chest_xray")
    common: list[Any] = ["--root", root, "--cache", tmp_path / "cache"]
    study = tmp_path / "study"
    call_command(
        "tune_model", recipe.name, *common, "--run", study, "--trials=1", "--epochs=1"
    )
    output = capsys.readouterr().out
    assert f"--params {study / 'best.json'}" in output
    assert (study / "study.sqlite3").exists()
    run = tmp_path / "run"
    arguments = ["--params", study / "best.json", "--epochs=2", "--seed=7"]
    refined = ["--loss=focal", "--class-weights", "--patience=5", "--init=random"]
    call_command(
        "train_model", recipe.name, *common, "--run", run, *arguments, *refined
    )
    output = capsys.readouterr().out
    rows = read_dataset(root)
    val = len(with_split(rows, "val"))
    assert f"{val} val images" in output
    assert f"written: {run / 'pneumonia-tiny.keras'}" in output
    history = [json.loads(line) for line in output.splitlines() if line[:1] == "{"]
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert all("held_out_loss" in entry for entry in history)


def test_impossible_trainings_end_with_a_message(
    recipe: Recipe, tmp_path: Path
) -> None:
    for number in (1, 2):
        split = "train" if number == 1 else "test"
        path = tmp_path / split / "PNEUMONIA" / f"person5_bacteria_{number}.jpeg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"never read")
    with pytest.raises(CommandError, match="kermany-person5-bacteria"):
        call_command("train_model", recipe.name, "--root", tmp_path)
    with pytest.raises(CommandError, match="kermany-person5-bacteria"):
        call_command("evaluate_model", DEFAULT_MODEL, "--root", tmp_path)
    with pytest.raises(CommandError, match="--as-version"):
        call_command(
            "train_model", recipe.name, "--root", tmp_path, "--architecture=xception"
        )
    with pytest.raises(CommandError, match="known: "):
        call_command("tune_model", "none", "--root", tmp_path)


def test_options_change_the_recipe(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = ArgumentParser()
    add_recipe_options(parser)

    def recipe_with(*arguments: str) -> Recipe:
        return asked_for(recipe.name, vars(parser.parse_args(arguments)))

    assert recipe_with() == recipe
    dense = recipe_with("--architecture=densenet121", "--as-version=0.2.0")
    assert (dense.architecture, dense.version) == ("densenet121", "0.2.0")
    assert recipe_with("--init=imagenet", "--seed=0").init == "imagenet"
    assert recipe_with("--seed=0").seed == 0
    frozen = replace(recipe, frozen=("stem",), distillation=Distillation("a/1", 0.3))
    monkeypatch.setitem(RECIPES, recipe.name, frozen)
    assert recipe_with("--init=random").frozen == ()
    assert recipe_with("--init=imagenet").frozen == ("stem",)
    assert recipe_with("--teacher=b").distillation == Distillation("b", 0.3)
    assert recipe_with("--teacher=none").distillation is None
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    large = recipe_with("--size=224", "--epoch-images=9000", "--batch-size=64")
    assert [stage.size for stage in large.stages] == [224]
    weighted = recipe_with("--class-weights", "--loss=focal", "--patience=3")
    # As the data are: the loss weighs what would else be drawn more often.
    assert (weighted.class_shares, weighted.balance) == ({}, 1.0)
    assert weighted.refinements == Refinements(
        focal_gamma=2.0, class_weights=True, patience=3
    )
    grown = replace(recipe, stages=(Stage(0.0, 96), Stage(0.5, 128)))
    monkeypatch.setitem(RECIPES, recipe.name, grown)
    assert [stage.size for stage in recipe_with("--size=299").stages] == [224, 299]
    assert recipe_with().stages == grown.stages
    assert (large.epoch_images, large.batch_size) == (9000, 64)


def test_the_command_of_a_card_has_the_deciding_options_and_no_local_path(
    settings: Settings, tmp_path: Path
) -> None:
    settings.CHESTX_DATA = tmp_path
    parser = load_command_class("diagnoses", "train_model").create_parser("", "")
    given = [
        "nih15-xception",
        f"--root={tmp_path}",
        f"--manifest={tmp_path / 'manifest.csv'}",
        "--minutes=7.5",
        "--architecture=densenet121",
        "--as-version=2.0.0",
        "--class-weights",
        f"--run={tmp_path / 'run'}",
        f"--out={tmp_path / 'out'}",
    ]
    assert training_command(vars(parser.parse_args(given))) == [
        *("python", "manage.py", "train_model", "nih15-xception"),
        *("--manifest", "$CHESTX_DATA/manifest.csv", "--root", "$CHESTX_DATA"),
        *("--minutes", "7.5", "--as-version", "2.0.0"),
        *("--architecture", "densenet121", "--class-weights"),
    ]


def test_a_report_names_its_deciding_options(
    settings: Settings, tmp_path: Path
) -> None:
    settings.CHESTX_DATA = tmp_path
    parser = load_command_class("diagnoses", "evaluate_model").create_parser("", "")
    given = [
        "tiny",
        f"--root={tmp_path}",
        "--dataset=nih",
        "--dataset=tb",
        "--pair=Normal,Tuberculosis",
        f"--report={tmp_path / 'report'}",
        "--json",
    ]
    options = vars(parser.parse_args(given))
    assert evaluation_command("evaluate_model", options) == [
        *("python", "manage.py", "evaluate_model", "tiny"),
        *("--root", "$CHESTX_DATA", "--dataset", "nih", "tb"),
        *("--pair", "Normal,Tuberculosis", "--json"),
    ]


def test_a_trial_names_its_deciding_options(settings: Settings, tmp_path: Path) -> None:
    settings.CHESTX_DATA = tmp_path
    parser = load_command_class("diagnoses", "cross_validate").create_parser("", "")
    given = [
        *("chest-efficientnet", f"--root={tmp_path}"),
        *("--head", "pneumonia", "chestx6", "--leave-out", "nih"),
        *("--against-source", "plain", "group-dro"),
        *("--epochs=3", f"--report={tmp_path / 'report.json'}"),
    ]
    assert cross_validation_command(vars(parser.parse_args(given))) == [
        *("python", "manage.py", "cross_validate", "chest-efficientnet"),
        *("--root", "$CHESTX_DATA", "--head", "pneumonia", "chestx6"),
        *("--leave-out", "nih", "--against-source", "plain", "group-dro"),
        *("--epochs", "3", "--size", "160", "--variations", "3", "--seed", "20260"),
    ]


def test_a_trial_of_an_unknown_head_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,labels\na.png,Normal\n")
    with pytest.raises(CommandError, match="has no head other"):
        call_command(
            "cross_validate",
            recipe.name,
            *("--root", tmp_path, "--manifest", manifest),
            *("--folds", "2", "--head", "other"),
        )
