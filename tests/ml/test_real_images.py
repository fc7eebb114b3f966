"""The shipped model on real images: every encoding gives the same result."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from chestx_site.benchmarks.ways import Setting
from chestx_site.benchmarks.ways.keras_tape import KerasTape
from ml.cards.card import default_card
from ml.gate.header import check_header, facts_of_dataset
from ml.inference import LoadedModel, ModelOutput, load_model
from ml.overlay import display_png
from ml.pixels import (
    display_frame,
    is_colour,
    read_dataset,
    read_display,
    read_stored_frame,
)
from ml.predict_file import read_file
from tests.ml.image_factory import compressed, dataset_of, encoded, file_of

pytestmark = pytest.mark.slow

GREY_SAMPLES = (
    "cr_chest_pa_fuji_monochrome1_10bit.dcm",
    "cr_chest_pa_monochrome1_16bit_jpeg2000.dcm",
    "cr_chest_pa_monochrome2_jpeg.dcm",
    "dx_udacity_test1.dcm",
    "dx_udacity_test2.dcm",
    "mr_explicit_le.dcm",
    "ct_jpeg2000.dcm",
)
CLOSE = 0.02


@pytest.fixture(scope="module")
def model(cache_dir: Path) -> LoadedModel:
    loaded = load_model(default_card(), cache_dir=cache_dir)
    assert isinstance(loaded, LoadedModel)
    return loaded


def sample(chestx_data: Path, name: str) -> Dataset:
    return read_dataset((chestx_data / "samples" / "dicom" / name).read_bytes())


def uncompressed(dataset: Dataset) -> Dataset:
    """Return the stored values of a sample as a plain dataset that shows the same."""
    stored = read_stored_frame(dataset)
    plain = dataset_of(
        stored,
        bits=int(dataset.BitsStored),
        interpretation=dataset.PhotometricInterpretation,
    )
    for keyword in (
        "WindowCenter",
        "WindowWidth",
        "RescaleSlope",
        "RescaleIntercept",
        "VOILUTFunction",
        "PixelPaddingValue",
    ):
        if keyword in dataset:
            plain[keyword] = dataset[keyword]
    return plain


def inverted(dataset: Dataset) -> Dataset:
    """Return the same image with inverse stored values and interpretation."""
    stored = read_stored_frame(dataset)
    full = (1 << int(dataset.BitsStored)) - 1
    other = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    turned = dataset_of(
        (full - stored).astype(stored.dtype),
        bits=int(dataset.BitsStored),
        interpretation=other[dataset.PhotometricInterpretation],
    )
    if "WindowCenter" in dataset:
        # The window's edges mirrored: c - 0.5 becomes full - (c - 0.5).
        turned.WindowCenter = full + 1 - float(dataset.WindowCenter)
        turned.WindowWidth = float(dataset.WindowWidth)
    return turned


@pytest.mark.parametrize("name", GREY_SAMPLES)
@pytest.mark.parametrize(
    "syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless], ids=lambda uid: uid.name
)
def test_real_images_have_the_same_display_in_every_lossless_syntax(
    chestx_data: Path, name: str, syntax: str
) -> None:
    dataset = sample(chestx_data, name)
    plain = uncompressed(dataset)
    expected = display_frame(dataset)
    assert np.array_equal(display_frame(plain), expected)
    again = read_display(file_of(compressed(plain, syntax)))
    assert np.array_equal(again, expected)


@pytest.mark.parametrize("name", GREY_SAMPLES[:5])
def test_real_images_have_the_same_result_in_every_lossless_form(
    chestx_data: Path, model: LoadedModel, name: str
) -> None:
    dataset = sample(chestx_data, name)
    display = display_frame(dataset)
    turned = inverted(dataset)
    forms = [
        display,
        read_display(display_png(display, bits=16)),
        display_frame(turned),
        read_display(file_of(compressed(turned, JPEGLSLossless))),
    ]
    results = [model.read(form) for form in forms]
    assert len({model_output.input_sha256 for model_output in results}) == 1
    assert len({tuple(s.probability for s in r.scores) for r in results}) == 1


def assert_close(model_output: ModelOutput, expected: ModelOutput) -> None:
    for score, expected_score in zip(model_output.scores, expected.scores, strict=True):
        assert abs(score.probability - expected_score.probability) <= CLOSE
        if abs(expected_score.probability - expected_score.threshold) > CLOSE:
            assert score.positive == expected_score.positive


def real_displays(chestx_data: Path) -> dict[str, np.ndarray]:
    folder = chestx_data / "samples"
    files = sorted((folder / "images").iterdir())
    files += [folder / "dicom" / name for name in GREY_SAMPLES[:5]]
    return {file.name: read_display(file.read_bytes()) for file in files}


@pytest.mark.parametrize("form", ["png", "jpeg 90", "jpeg 95"])
def test_lossy_and_8_bit_copies_of_real_images_are_nearly_the_same(
    chestx_data: Path, model: LoadedModel, form: str
) -> None:
    images = real_displays(chestx_data)
    assert len(images) >= 20
    for display in images.values():
        eight = ((display.astype(np.uint32) + 128) // 257).astype(np.uint8)
        copy = encoded(eight, ".png")
        if form != "png":
            quality = int(form.split()[1])
            copy = encoded(eight, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)
        assert_close(model.read(read_display(copy)), model.read(display))


def test_every_sample_is_read_or_rejected_with_a_reason(
    chestx_data: Path, model: LoadedModel
) -> None:
    outcomes = {
        file.name: read_file([model], file)[0]
        for folder in ("dicom", "images")
        for file in sorted((chestx_data / "samples" / folder).iterdir())
    }
    assert len(outcomes) >= 30
    assert not [name for name, o in outcomes.items() if o.status == "failed"]
    turned_away = {n for n, o in outcomes.items() if o.status == "rejected"}
    assert turned_away >= {
        "cr_extremity_monochrome1_jpeg2000.dcm",
        "ct_jpeg2000.dcm",
        "mr_explicit_le.dcm",
        "us_rgb.dcm",
        "sc_rgb_2frame.dcm",
    }
    assert not [n for n in turned_away if not outcomes[n].to_json()["reason_code"]]
    assert not {n for n in turned_away if not n.endswith(".dcm")}


def test_real_headers_are_accepted_or_rejected_by_their_values(
    chestx_data: Path,
) -> None:
    card = default_card()
    reasons = {
        "cr_extremity_monochrome1_jpeg2000.dcm": "wrong_body_part",
        "us_rgb.dcm": "wrong_modality",
    }
    for name, code in reasons.items():
        rejection = check_header(card, facts_of_dataset(sample(chestx_data, name)))
        assert rejection is not None
        assert rejection.reason_code == code
    assert is_colour(sample(chestx_data, "sc_rgb_2frame.dcm"))


def test_the_shipped_card_has_the_hash_of_its_weights_and_required_texts() -> None:
    card = default_card()
    assert card.weights_file.stat().st_size < 50_000_000
    assert len(card.labels) == 6
    assert "not for diagnosis" in card.intended_use
    assert any("Source cannot be told" in limit for limit in card.limits)
    assert {row.label for row in card.training_data} == set(card.label_names)
    assert all(row.licence and row.ages for row in card.training_data)
    for name in ("val", "val_kermany", "val_kermany_crop_tenth"):
        measurement = card.measurement(name)
        assert measurement is not None
        metric = measurement.metric("balanced_accuracy")
        assert metric is not None
        assert metric.low <= metric.value <= metric.high
        assert "evaluate_model" in measurement.command


def test_the_shipped_model_equals_keras_with_gradient_tape(
    chestx_data: Path, cache_dir: Path
) -> None:
    image = read_display(
        (chestx_data / "samples/images/kermany_IM-0679-0001.jpeg").read_bytes()
    )
    card = default_card()
    ours = load_model(card, cache_dir=cache_dir).read(image, apply_gate=False)
    setting = Setting(
        card, cache_dir=cache_dir, threads=0, runner="keras", precision="float32"
    )
    (usual,) = KerasTape(setting).read([image])
    ours_probabilities = [score.probability for score in ours.scores]
    assert ours_probabilities == pytest.approx(usual.probabilities, abs=1e-4)
    assert ours.scores[usual.top].grid == pytest.approx(usual.grid, abs=2e-3)
