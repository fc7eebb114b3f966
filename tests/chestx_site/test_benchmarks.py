"""The benchmarks: what they send, count and print; speed is not tested here."""

from __future__ import annotations

import json
import re
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from chestx_site.benchmarks import images, inference
from chestx_site.benchmarks.figures import (
    GOALS,
    BenchmarkError,
    Goal,
    keep,
    spread,
    table,
    this_machine,
)
from chestx_site.benchmarks.inference import Compared, WayProcess
from chestx_site.management.commands import bench
from patients.containers import Kind, check_whole
from patients.dicom.header import read_header
from tests.brackets import outside_brackets
from tests.ml.conftest import install, tiny_network
from tests.ml.image_factory import chest_like, encoded

HERE = Path(__file__).parents[2]


def test_a_goal_is_a_lower_or_an_upper_limit() -> None:
    fast = Goal("a", "b", "c", "x", 15, at_least=True)
    quick = Goal("a", "b", "c", "s", 0.5, at_least=False)
    assert fast.met(15)
    assert not fast.met(14.9)
    assert quick.met(0.5)
    assert not quick.met(0.51)


def test_every_goal_names_a_benchmark() -> None:
    assert {goal.benchmark for goal in GOALS} == set(bench.BENCHMARKS)


def test_spread_gives_median_percentile_and_maximum() -> None:
    figures = spread([0.1] * 95 + [0.2] * 5, unit="s")
    assert figures == {"median_s": 0.1, "p95_s": 0.105, "max_s": 0.2, "n": 100}


def test_a_missed_goal_is_reported() -> None:
    lines = list(table({"upload": {"p95_s": 0.7}}, this_machine(HERE)))
    assert any("0.7" in line and "MISSED" in line for line in lines)
    lines = list(table({"upload": {"p95_s": 0.2}}, this_machine(HERE)))
    assert any("0.2" in line and line.endswith(": met") for line in lines)


def test_the_table_is_in_the_language_of_the_reader(brackets: None) -> None:
    machine = this_machine(HERE)
    measured = {goal.figure: 1.0 for goal in GOALS if goal.benchmark == "inference"}
    lines = list(table({"inference": measured}, machine))
    *translated, heading = lines[: lines.index("inference") + 1]
    for line in translated:
        rest = outside_brackets(line).removeprefix("  inference")
        assert not re.search(r"[a-z]{2}", rest), line
    # Names of figures are those of the JSON.
    assert heading == "inference"


def test_ratios_compare_the_whole_chestx_call_with_the_others() -> None:
    figures = inference.ratios(
        {
            "ours float32": 12.0,
            "ours bfloat16": 8.0,
            "OpenVINO float32": 10.0,
            "OpenVINO bfloat16": 6.0,
            "onnxruntime": 16.0,
            "TensorFlow compiled": 28.0,
            "predict + GradientTape": 320.0,
        }
    )
    assert (figures["best"], figures["fastest_plain"]) == (
        "bfloat16",
        "OpenVINO float32",
    )
    assert (figures["ratio"], figures["ratio_float32"]) == (40.0, 26.67)
    assert (figures["tensorflow_ratio"], figures["plain_ratio"]) == (3.5, 1.25)
    assert figures["over_bare_pass"] == 1.2


def test_every_runner_has_a_row_in_the_table() -> None:
    figures = {
        **dict.fromkeys((goal.figure for goal in GOALS), 1.0),
        "ways": {"ours": {"median_ms": 8.5}, "usual": {"median_ms": 320.0}},
    }
    lines = list(table({"inference": figures}, this_machine(HERE)))
    assert any("ours" in line and "8.5" in line for line in lines)
    assert any("usual" in line and "320" in line for line in lines)


@pytest.mark.slow
def test_each_runner_is_measured_in_its_own_process(
    settings: Settings, tmp_path: Path
) -> None:
    settings.INFERENCE_CACHE_DIR = tmp_path / "cache"
    settings.INFERENCE_NUM_THREADS = 1
    card = install(tmp_path, tiny_network())
    shown = tmp_path / "images.npy"
    np.save(shown, np.stack([chest_like(seed=seed) for seed in range(2)]))
    picture = tmp_path / "image.png"
    picture.write_bytes(encoded(chest_like(), ".png"))
    for way in (Compared("ours", "ours"), Compared("bare", "openvino_pass")):
        with WayProcess(way, card=card, images=shown) as process:
            assert process.first.shape == (3,)
            assert len(process.ask("one", rounds=2)) == 4
            assert len(process.ask("many", size=8, rounds=1)) == 1
            assert process.ask("memory")["most"] > 10
            [again] = process.ask("probabilities", paths=[str(picture)])
            assert again == pytest.approx(process.first.tolist(), rel=1e-3)


@pytest.mark.slow
def test_a_runner_that_cannot_start_gives_the_reason(
    settings: Settings, tmp_path: Path
) -> None:
    settings.INFERENCE_CACHE_DIR = tmp_path
    card = install(tmp_path, tiny_network())
    with pytest.raises(BenchmarkError, match=r"nothing\.npy"):
        WayProcess(Compared("ours", "ours"), card=card, images=tmp_path / "nothing.npy")


def test_figures_are_stored_beside_those_of_other_benchmarks(tmp_path: Path) -> None:
    path, machine = tmp_path / "benchmarks" / "results.json", this_machine(HERE)
    keep(path, {"upload": {"p95_s": 1}}, machine)
    keep(path, {"inference": {"ratio": 20}}, machine)
    keep(path, {"upload": {"p95_s": 2}}, machine)
    kept = json.loads(path.read_text())
    assert list(kept) == ["inference", "upload"]
    assert kept["upload"]["p95_s"] == 2
    assert kept["inference"]["machine"]["cores"] >= 1


@pytest.fixture
def _quick_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a benchmark measure nothing, and keep its figures elsewhere."""
    monkeypatch.setitem(bench.BENCHMARKS, "inference", lambda say: {"ratio": 21.5})
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")


@pytest.mark.usefixtures("_quick_benchmark")
def test_one_benchmark_prints_its_figures_as_json(tmp_path: Path) -> None:
    out = StringIO()
    call_command("bench", "inference", "--json", stdout=out)
    figures = json.loads(out.getvalue())
    assert figures["ratio"] == 21.5
    assert figures["machine"]["python"]
    assert json.loads((tmp_path / "results.json").read_text())["inference"]


@pytest.mark.usefixtures("_quick_benchmark")
def test_an_unknown_or_failing_benchmark_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CommandError, match="Unknown benchmarks: nonsense"):
        call_command("bench", "nonsense")

    def broken(say: object) -> dict[str, object]:
        raise BenchmarkError("the demo did not start")

    monkeypatch.setitem(bench.BENCHMARKS, "upload", broken)
    with pytest.raises(CommandError, match="upload: the demo did not start"):
        call_command("bench", "upload")


@pytest.mark.slow
def test_drawn_images_are_distinct_objects() -> None:
    uids = set()
    for content in images.drawn_images(3):
        file = BytesIO(content)
        check_whole(file, Kind.DICOM)
        header = read_header(file)
        uids.add(header.sop_instance_uid)
        assert (header.rows, header.columns, header.bits_stored) == (2000, 2000, 16)
    assert len(uids) == 3


def test_without_samples_there_is_no_jpeg_2000(
    settings: Settings, tmp_path: Path
) -> None:
    settings.CHESTX_DATA = tmp_path
    assert not list(images.jpeg_2000_images(3))


@pytest.mark.slow
def test_without_samples_jpegs_are_drawn(settings: Settings, tmp_path: Path) -> None:
    settings.CHESTX_DATA = tmp_path
    source, pictures = images.jpeg_pictures()
    assert source == "drawn"
    for picture in pictures:
        check_whole(BytesIO(picture), Kind.JPEG)


def test_the_jpeg_2000_sample_is_sent_under_new_uids(chestx_data: Path) -> None:
    uids = {
        read_header(BytesIO(content)).sop_instance_uid
        for content in images.jpeg_2000_images(3)
    }
    assert len(uids) == 3
