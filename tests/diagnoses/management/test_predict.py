"""`manage.py predict`: one line for each file, also after an error."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.core.management import CommandError, call_command

import ml.inference
from ml.pixels import PREAMBLE_LENGTH
from patients.phantom.drawing import draw_chest
from tests.ml.evaluation.test_scoring import use_tiny_model
from tests.ml.image_factory import chest_like, dataset_of, encoded, file_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return an image in two forms, one to reject and one that is damaged."""
    # The gate of the shipped model is to take it for an image.
    image = draw_chest(seed=1, size=512) * np.uint16(16)
    contents = {
        "image.png": encoded(image, ".png"),
        "image.dcm": file_of(dataset_of(image, WindowCenter=32768, WindowWidth=65536)),
        "knee.dcm": file_of(dataset_of(image, BodyPartExamined="KNEE")),
        "photo.png": encoded(np.full((50, 50, 3), (255, 0, 0), np.uint8), ".png"),
        "cut.png": encoded(image, ".png")[:500],
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in [*contents, "none.png"]}


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_file_has_an_output_line_and_a_failure_sets_the_exit_status(
    files: dict[str, Path],
    tiny_weights_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    with pytest.raises(CommandError, match="2 of 6"):
        call_command("predict", *map(str, files.values()), "--json")
    lines = {Path(line["path"]).name: line for line in lines_of(capsys)}
    assert {name: line["status"] for name, line in lines.items()} == {
        "image.png": "succeeded",
        "image.dcm": "succeeded",
        "knee.dcm": "rejected",
        "photo.png": "rejected",
        "cut.png": "failed",
        "none.png": "failed",
    }
    assert {line["version"] for line in lines.values()} == {"1.0.0"}
    assert lines["knee.dcm"]["reason_code"] == "wrong_body_part"
    assert lines["photo.png"]["reason_code"] == "colour_image"
    assert lines["cut.png"]["reason"]
    assert lines["knee.dcm"]["findings"] == []
    # The same image in two forms: the same numbers.
    assert lines["image.png"]["findings"] == lines["image.dcm"]["findings"]
    finding = lines["image.png"]["findings"][0]
    assert set(finding) >= {
        "label",
        "probability",
        "calibrated",
        "threshold",
        "positive",
    }


def test_a_reason_is_printed_in_the_language_of_the_reader(
    files: dict[str, Path],
    tiny_weights_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    texts: list[str] = []

    def translated(text: str) -> str:
        texts.append(text)
        return f"[{text}]"

    monkeypatch.setattr("diagnoses.messages.gettext", translated)
    with pytest.raises(CommandError, match="1 of 2"):
        call_command("predict", str(files["knee.dcm"]), str(files["none.png"]))
    lines = capsys.readouterr().out
    assert "none.png: failed ([The file cannot be read: No such file" in lines
    assert "knee.dcm: rejected ([" in lines
    assert "The file cannot be read: %(error)s." in texts


def test_all_heads_of_the_default_model_read_a_file_in_one_pass(
    files: dict[str, Path],
    shared_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, shared_weights_dir)
    passes: list[int] = []
    run = ml.inference.OpenVinoRunner.run

    def counted(runner: Any, image: np.ndarray) -> Any:
        passes.append(id(runner))
        return run(runner, image)

    monkeypatch.setattr(ml.inference.OpenVinoRunner, "run", counted)
    call_command("predict", str(files["image.png"]), "--json")
    assert len(passes) == 1
    [line] = lines_of(capsys)
    [other] = line["other_models"]
    assert (line["model"], other["model"]) == ("net-three", "net-two")
    assert [finding["label"] for finding in other["findings"]] == [
        "Pneumonia",
        "Tuberculosis",
    ]
    folder = tmp_path / "maps"
    call_command(
        "predict", str(files["image.png"]), "--model=net", f"--heatmap={folder}"
    )
    assert len(passes) == 2
    output = capsys.readouterr().out
    assert "image.png: net-three: " in output
    assert "image.png: net-two: " in output
    assert {path.name.split(".")[1] for path in folder.iterdir()} == {
        "net-three",
        "net-two",
    }
    call_command("predict", str(files["knee.dcm"]), "--model=net-two", "--json")
    [line] = lines_of(capsys)
    assert (line["model"], line["other_models"]) == ("net-two", [])
    assert line["reason_code"] == "wrong_body_part"
    assert len(passes) == 2


def test_overlays_are_written_to_the_folder_under_distinct_names(
    files: dict[str, Path],
    tiny_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    folder = tmp_path / "maps"
    call_command(
        "predict",
        str(files["image.png"]),
        str(files["image.dcm"]),
        f"--heatmap={folder}",
        "--model=tiny",
    )
    pictures = list(folder.iterdir())
    assert len(pictures) == 2
    for path in pictures:
        assert cv2.imread(str(path)).shape[:2] == (512, 512)
    output = capsys.readouterr().out
    assert "image.png: " in output
    assert "Decision support, not for diagnosis" in output
    assert "card.json" in output


def test_an_impossible_overlay_folder_is_reported_before_any_image(
    files: dict[str, Path],
    tiny_weights_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    taken = files["cut.png"]
    with pytest.raises(CommandError, match="cannot be created"):
        call_command("predict", str(files["image.png"]), f"--heatmap={taken}")
    assert capsys.readouterr().out == ""


def test_a_failed_overlay_does_not_stop_the_others(
    files: dict[str, Path],
    tiny_weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    # As long as a name may be; that of its overlay is longer.
    long = files["image.png"].rename(tmp_path / f"{'n' * 250}.png")
    folder = tmp_path / "maps"
    with pytest.raises(CommandError, match="1 of 2"):
        call_command(
            "predict",
            str(long),
            str(files["image.dcm"]),
            f"--heatmap={folder}",
            "--json",
        )
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "no heat map" in captured.err
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("keyword", ["Modality", "Columns", "NumberOfFrames"])
def test_a_damaged_file_does_not_stop_the_others(
    keyword: str,
    files: dict[str, Path],
    tiny_weights_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    image = dataset_of(chest_like(), NumberOfFrames=1)
    stored = file_of(image)
    tag = struct.pack("<HH", image[keyword].tag.group, image[keyword].tag.element)
    place = stored.index(tag + image[keyword].VR.encode(), PREAMBLE_LENGTH) + 4
    # A value representation that the standard does not have.
    files["cut.png"].write_bytes(stored[:place] + b"U\0" + stored[place + 2 :])
    paths = (str(files["cut.png"]), str(files["image.dcm"]))
    with pytest.raises(CommandError, match="1 of 2"):
        call_command("predict", *paths, "--json")
    damaged, whole = lines_of(capsys)
    assert (damaged["status"], whole["status"]) == ("failed", "succeeded")
    assert damaged["reason_code"] in ("invalid_header", "no_pixels")
    assert damaged["reason"]


def test_the_error_for_an_unknown_model_lists_the_known_ones(
    files: dict[str, Path], tiny_weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_model(monkeypatch, tiny_weights_dir)
    with pytest.raises(CommandError, match="known: tiny"):
        call_command("predict", str(files["image.png"]), "--model=none")


def test_predict_needs_no_server_and_no_database(
    files: dict[str, Path], tmp_path: Path
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "REDIS_URL")
    }
    done = subprocess.run(
        [
            sys.executable,
            "manage.py",
            "predict",
            str(files["image.png"]),
            str(files["none.png"]),
            str(files["image.dcm"]),
            "--json",
        ],
        cwd=ROOT,
        env=environment | {"VAR_DIR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["succeeded", "failed", "succeeded"]
    assert done.returncode == 1
    assert lines[0]["findings"] == lines[2]["findings"]
