"""The metrics of evaluate_model on made-up manifests, worked out by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from django.core.management import CommandError, call_command

import ml.runners.keras_runner
from ml.cards.card import Card
from ml.datasets.manifest import ManifestRow, read_manifest
from ml.evaluation.report import plot_titles
from ml.evaluation.scoring import (
    KnownScores,
    ground_truth_of,
    pair_metrics,
    report_of,
    score_images,
)
from ml.evaluation.shortcuts.changes import crop_and_equalise
from ml.inference import LoadedModel
from ml.networks.heads import Dense, GlobalPooling, Head
from tests.brackets import outside_brackets
from tests.ml.image_factory import chest_like, encoded, write_manifest

pytestmark = pytest.mark.slow


NAMES = ("Normal", "Bacterial pneumonia", "Viral pneumonia")


class ScriptedRunner:
    """A network that says what the image's brightness says."""

    backend = "scripted"
    precision = "float32"
    library_versions: Mapping[str, str] = MappingProxyType({})
    head: Head | None = Head(
        [GlobalPooling("average"), Dense(np.zeros((2, 3)), np.zeros(3, np.float32))]
    )

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits = [np.array(each, np.float32) for each in logits]
        self.read = 0

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.read += 1
        return self.logits[self.read - 1], np.zeros((2, 2, 2), np.float32)

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = [self.run(image) for image in images]
        return np.stack([o[0] for o in outputs]), np.stack([o[1] for o in outputs])


def scripted(card: Card, logits: list[list[float]]) -> LoadedModel:
    return LoadedModel(card, ScriptedRunner(logits), sha256="f" * 64)


def measured(model: LoadedModel, rows: list[ManifestRow], root: Path) -> dict[str, Any]:
    return report_of(
        score_images(model, rows, root=root), weights_sha256=model.weights_sha256
    )


def made_up(root: Path, labels: list[str], **more: list[str]) -> Path:
    image = encoded((chest_like(64, 64) // 257).astype(np.uint8), ".png")
    rows = []
    for number, each in enumerate(labels):
        (root / f"{number}.png").write_bytes(image)
        row = {"path": f"{number}.png", "labels": each}
        rows.append(row | {name: values[number] for name, values in more.items()})
    return write_manifest(root / "manifest.csv", rows)


def test_softmax_metrics_equal_those_computed_by_hand(
    plain_card: Card, tmp_path: Path
) -> None:
    labels = [
        "No Finding",
        "Normal",
        "Pneumonia|Bacterial pneumonia",
        "Bacterial pneumonia",
        "Glioma",
        "Pneumonia",
    ]
    rows = read_manifest(made_up(tmp_path, labels))
    model = scripted(plain_card, [[5, 0, 0], [0, 5, 0], [0, 5, 0], [0, 5, 1]])
    report = measured(model, rows, tmp_path)
    assert json.loads(json.dumps(report)) == report
    assert (report["n"], report["skipped"], report["skipped_unknown"]) == (4, 2, 1)
    assert report["skipped_ambiguous"] == ["5.png"]
    assert report["accuracy"]["value"] == 0.75
    # Only Normal (1 of 2) and Bacterial (2 of 2) are present.
    assert report["balanced_accuracy"]["value"] == 0.75
    assert report["accuracy"]["low"] <= 0.75 <= report["accuracy"]["high"]
    bacterial = report["labels"]["Bacterial pneumonia"]
    assert (bacterial["precision"], bacterial["recall"]) == (0.6667, 1.0)
    assert (bacterial["f1"], bacterial["positives"]) == (0.8, 2)
    assert (bacterial["sensitivity"], bacterial["specificity"]) == (1.0, 0.5)
    assert not bacterial["claimed"]
    assert report["too_few"] == list(NAMES)
    assert report["mean_auc_claimed"]["value"] is None
    assert report["labels"]["Viral pneumonia"]["recall"] is None
    assert report["labels"]["Viral pneumonia"]["auc"] is None
    assert report["confusion"]["matrix"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert report["mean_auc"]["value"] is not None


def test_sigmoid_metrics_follow_the_thresholds(
    plain_card: Card, tmp_path: Path
) -> None:
    card = replace(
        plain_card,
        task="sigmoid",
        labels=plain_card.labels[1:],
        thresholds=dict.fromkeys(NAMES[1:], 0.5),
    )
    labels = ["No Finding", "Normal", "Bacterial pneumonia", "Glioma"]
    rows = read_manifest(made_up(tmp_path, labels))
    model = scripted(card, [[-5, -5], [5, -5], [5, 5]])
    report = measured(model, rows, tmp_path)
    assert (report["n"], report["skipped"]) == (3, 1)
    # Bacterial: 2 of 3 right. Viral: 2 of 3 right. Their mean:
    assert report["accuracy"]["value"] == 0.6667
    # Viral has no positive image and so no balanced accuracy of its own.
    assert report["balanced_accuracy"]["value"] == 0.75
    assert report["labels"]["Bacterial pneumonia"]["positives"] == 1
    assert report["labels"]["Viral pneumonia"]["recall"] is None
    assert report["confusion"]["matrices"][0] == [[1, 1], [0, 1]]


def test_negatives_of_a_model_without_normal_are_known(
    plain_card: Card, tmp_path: Path
) -> None:
    card = replace(plain_card, task="sigmoid", labels=plain_card.labels[1:])
    rows = read_manifest(made_up(tmp_path, ["No Finding", "Normal", "Hernia"]))
    ground_truth = ground_truth_of(card, rows)
    assert ground_truth.unknown == ("2.png",)
    assert not ground_truth.positive.any()
    assert ground_truth.known.all()


def test_unreadable_images_are_listed(plain_card: Card, tmp_path: Path) -> None:
    rows = read_manifest(made_up(tmp_path, ["Normal", "Normal", "Normal"]))
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "2.png").unlink()
    report = measured(scripted(plain_card, [[5, 0, 0]]), rows, tmp_path)
    assert (report["n"], report["skipped"]) == (1, 2)
    assert [image["path"] for image in report["failed"]] == ["1.png", "2.png"]


def test_labels_with_enough_images_are_claimed_and_groups_are_reported(
    plain_card: Card, tmp_path: Path
) -> None:
    labels = ["Normal", "Bacterial pneumonia"] * 30
    manifest = made_up(
        tmp_path,
        labels,
        dataset=["a"] * 50 + ["b"] * 10,
        view=["AP", "PA"] * 30,
        sex=["F"] * 60,
        age_years=["5", "70"] * 30,
    )
    logits = [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]] * 30
    report = measured(scripted(plain_card, logits), read_manifest(manifest), tmp_path)
    assert report["labels_claimed"] == ["Normal", "Bacterial pneumonia"]
    assert report["labels"]["Normal"]["intervals"]["auc"] == [1.0, 1.0]
    assert report["accuracy_at_80"]["value"] == 1.0
    assert report["not_known"] == {"view": 0, "sex": 0, "age_years": 0}
    groups = report["groups"]
    assert groups["dataset"]["a"]["claimed"]
    assert not groups["dataset"]["b"]["claimed"]
    assert groups["view"]["AP"]["n"] == groups["age_years"]["65 and over"]["n"] == 30
    assert groups["sex"]["F"]["accuracy"]["value"] == 1.0


def test_a_mark_is_worth_less_where_the_label_is_rarer(
    plain_card: Card, tmp_path: Path
) -> None:
    labels = ["Normal", "Bacterial pneumonia"] * 20
    rows = read_manifest(made_up(tmp_path, labels))
    # Of 20 with pneumonia 16 are marked, of 20 without it 2.
    marked = [[0.0, 5.0, 0.0]] * 2 + [[5.0, 0.0, 0.0]] * 18
    missed = [[0.0, 5.0, 0.0]] * 16 + [[5.0, 0.0, 0.0]] * 4
    logits = [each for pair in zip(marked, missed, strict=True) for each in pair]
    report = measured(scripted(plain_card, logits), rows, tmp_path)
    assert set(report["predictive_values"]) == {"Bacterial pneumonia"}
    rare, _, frequent = report["predictive_values"]["Bacterial pneumonia"]
    assert (rare["prevalence"], frequent["prevalence"]) == (0.01, 0.2)
    # Of 1,000 patients with 200 ill: 160 of the ill and 80 of the others are marked.
    assert frequent["ppv"]["value"] == pytest.approx(160 / 240, abs=1e-4)
    assert frequent["npv"]["value"] == pytest.approx(720 / 760, abs=1e-4)
    assert rare["ppv"]["value"] == pytest.approx(8 / (8 + 99), abs=1e-4)
    assert rare["ppv"]["low"] < rare["ppv"]["value"] < rare["ppv"]["high"]
    assert report["not_known"] == {"view": 40, "sex": 40, "age_years": 40}


def test_known_scores_are_not_read_again(plain_card: Card, tmp_path: Path) -> None:
    rows = read_manifest(made_up(tmp_path, ["Normal", "Normal"]))
    model = scripted(plain_card, [[5, 0, 0], [0, 5, 0]])
    known: KnownScores = {}
    first = score_images(model, rows, root=tmp_path, known=known)
    again = score_images(model, rows, root=tmp_path, known=known)
    assert isinstance(model.runner, ScriptedRunner)
    assert model.runner.read == 2
    assert (first.scores == again.scores).all()


def test_nothing_to_measure_gives_nulls(plain_card: Card, tmp_path: Path) -> None:
    rows = read_manifest(made_up(tmp_path, ["Glioma"]))
    report = measured(scripted(plain_card, []), rows, tmp_path)
    assert report["n"] == 0
    assert report["accuracy"] == {"value": None, "low": None, "high": None}


def test_a_pair_is_measured_on_its_own_images(plain_card: Card, tmp_path: Path) -> None:
    labels = ["Normal", *NAMES[1:], *NAMES[1:]]
    rows = read_manifest(made_up(tmp_path, labels))
    logits = [[9.0, 0, 0], [9, 1.5, 1], [0.0, 1, 3], [0.0, 3, 1], [0.0, 2, 1]]
    scored = score_images(scripted(plain_card, logits), rows, root=tmp_path)
    pair = pair_metrics(scored, "Bacterial pneumonia", "Viral pneumonia")
    assert pair["n"] == 4
    assert pair["auc"]["value"] == 0.75
    assert pair["balanced_accuracy"]["value"] == 0.75


def test_cropping_and_equalising_removes_borders_and_tone() -> None:
    image = chest_like(200, 100)
    changed = crop_and_equalise(image)
    assert changed.shape == (168, 84)
    brighter = crop_and_equalise((image * 0.6 + 9000).astype(np.uint16))
    assert np.abs(changed.astype(int) - brighter).mean() < 1500


def test_the_command_prints_one_json_object(
    tiny_card: Card,
    tiny_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    manifest = made_up(
        tmp_path,
        ["Normal", "Bacterial pneumonia", "Viral pneumonia"],
        split=["val", "val", "train"],
        dataset=["a", "b", "a"],
    )
    arguments = ["tiny", "--manifest", str(manifest), "--root", str(tmp_path)]
    call_command("evaluate_model", *arguments, "--json")
    assert json.loads(capsys.readouterr().out)["n"] == 3
    call_command("evaluate_model", *arguments, "--json", "--split=val", "--dataset=a")
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 1
    assert set(report["labels"]) == set(NAMES)
    assert set(report) >= {
        "model",
        "n",
        "skipped",
        "accuracy",
        "balanced_accuracy",
        "mean_auc",
        "labels",
        "confusion",
    }
    call_command("evaluate_model", *arguments, "--pair", ",".join(NAMES[1:]))
    assert "balanced accuracy" in capsys.readouterr().out
    with pytest.raises(CommandError, match="two of"):
        call_command("evaluate_model", *arguments, "--pair", "Normal")
    with pytest.raises(CommandError, match="known: tiny"):
        call_command("evaluate_model", "none", *arguments[1:])
    call_command("evaluate_model", *arguments, "--json", "--dataset=a,b")
    assert json.loads(capsys.readouterr().out)["n"] == 3
    call_command("compare_models", "tiny", "tiny/1.0.0", *arguments[1:], "--json")
    compared = json.loads(capsys.readouterr().out)
    assert compared["figures"]["accuracy"]["difference"]["value"] == 0.0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--dataset", "elsewhere"], "no row of the manifest"),
        (["--root", "nowhere"], "nowhere is not a folder"),
        (["--root", "empty"], "none of 3 images could be read under empty"),
        (["--operating-point", "none"], "no operating point"),
    ],
)
def test_the_command_fails_where_nothing_was_measured(
    more: list[str],
    message: str,
    tiny_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    manifest = made_up(tmp_path, ["Normal"] * 3, dataset=["a"] * 3)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = ["--manifest", str(manifest), "--root", str(tmp_path)]
    with pytest.raises(CommandError, match=message):
        call_command("evaluate_model", "tiny", *arguments, *more)


def test_a_report_has_every_plot_and_the_baseline(
    tiny_weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    labels = ["Normal", "Bacterial pneumonia"] * 60
    manifest = made_up(
        tmp_path,
        labels,
        split=["val"] * 60 + ["train"] * 60,
        dataset=["a"] * 120,
    )
    call_command(
        "evaluate_model",
        "tiny",
        *("--manifest", str(manifest), "--root", str(tmp_path)),
        *("--split", "val", "--baseline", "--report", str(tmp_path / "report")),
        *("--pair", "Normal,Bacterial pneumonia"),
    )
    written = {path.name for path in (tmp_path / "report").iterdir()}
    plots = {f"{name}.svg" for name in plot_titles() if name != "learning-curves"}
    assert written == {"report.md", "report.html", *plots}
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<svg") == len(plots)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "source not separable from disease" in text
    assert "Border-and-histogram baseline" in text
    for plot in plots:
        ElementTree.parse(tmp_path / "report" / plot)  # noqa: S314 - our own


def test_a_report_is_in_the_language_of_the_reader(
    tiny_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    brackets: None,
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    manifest = made_up(
        tmp_path,
        ["Normal", "Bacterial pneumonia"] * 60,
        split=["val"] * 60 + ["train"] * 60,
        dataset=["a"] * 120,
    )
    out = StringIO()
    call_command(
        "evaluate_model",
        "tiny",
        *("--manifest", str(manifest), "--root", str(tmp_path)),
        *("--split", "val", "--baseline", "--report", str(tmp_path / "report")),
        *("--pair", "Normal,Bacterial pneumonia"),
        stdout=out,
        stderr=StringIO(),
    )
    text = (tmp_path / "report" / "report.md").read_text()
    labels = "Normal|Bacterial pneumonia|Viral pneumonia"
    data = rf"{labels}|\b95 %|[\w-]+\.svg|\ba\b"
    for line in (*text.splitlines(), *out.getvalue().splitlines()):
        rest = re.sub(data, "", outside_brackets(line))
        assert not re.search(r"[^\W\d_]", rest), line


def use_tiny_model(monkeypatch: pytest.MonkeyPatch, weights_dir: Path) -> None:
    """Let the commands find the tiny model, and run it without an export."""
    monkeypatch.setattr("ml.cards.card.WEIGHTS_DIR", weights_dir)

    class QuickRunner(ml.runners.keras_runner.KerasRunner):
        def __init__(self, card: Card, weights: Path, **options: Any) -> None:
            super().__init__(card, weights, precision=options["precision"])

    monkeypatch.setattr("ml.inference.OpenVinoRunner", QuickRunner)
