"""`manage.py import_model`: from a file to a model that reads images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from ml.cards.card import get_card
from ml.errors import ModelError
from ml.exchange.import_request import ImportRequest
from ml.exchange.importing import import_model
from ml.exchange.saved_model import folder_sha256
from ml.inference import load_model
from ml.preprocessing import SCALINGS, preprocess
from tests.ml.exchange import foreign
from tests.ml.image_factory import chest_like, encoded

pytestmark = pytest.mark.slow

IMAGES = {"a": chest_like(90, 80), "b": chest_like(64, 64) // 2}


def request(path: Path, **changes: object) -> ImportRequest:
    labels = ("Normal", "Bacterial pneumonia", "Viral pneumonia")
    return ImportRequest(
        **{"file": path, "labels": labels, "name": "theirs", **changes}
    )


def test_a_keras_file_becomes_a_model_with_heat_maps(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = foreign.flat_cnn()
    file = tmp_path / "Their Model.h5"
    theirs.save(file)
    sanity = tmp_path / "images"
    sanity.mkdir()
    for name, image in IMAGES.items():
        (sanity / f"{name}.png").write_bytes(encoded(image, ".png"))
    weights_dir = tmp_path / "weights"
    arguments = ["--labels", "Normal,Bacterial pneumonia,Rare", "--version", "2.0"]
    places = [f"--sanity={sanity}", f"--out={weights_dir}"]
    call_command("import_model", str(file), *arguments, *places)
    output = capsys.readouterr().out
    assert "Nothing was measured" in output
    card = get_card("their-model", "2.0", weights_dir=weights_dir)
    assert (
        card.raw["imported"]["source_sha256"]
        == hashlib.sha256(file.read_bytes()).hexdigest()
    )
    assert card.raw["imported"]["checked"]["differs_from_the_file_by"] < 1e-3
    assert card.labels[0].snomed == "17621005"
    assert card.measurements == ()
    assert card.heat_maps
    model_output = load_model(card, cache_dir=cache_dir).read(IMAGES["a"])
    image, _ = preprocess(IMAGES["a"], size=foreign.SIZE, channels=3, scaling="0-255")
    expected = theirs.predict_on_batch(image[None])[0]
    assert np.abs([s.probability for s in model_output.scores] - expected).max() < 1e-3
    assert model_output.scores[0].grid.shape == (13, 13)
    assert not model_output.scores[0].calibrated
    with pytest.raises(CommandError, match="Choose another --version"):
        call_command("import_model", str(file), *arguments, *places)


def test_probabilities_that_look_like_logits_are_refused(
    tmp_path: Path, cache_dir: Path
) -> None:
    theirs = foreign.flat_cnn()
    behind = keras.layers.Reshape((3,))(theirs.outputs[0])
    keras.Model(theirs.inputs, behind).save(tmp_path / "theirs.keras")
    with pytest.raises(ModelError, match="already probabilities"):
        import_model(
            request(tmp_path / "theirs.keras"),
            images=IMAGES,
            weights_dir=tmp_path / "weights",
            cache_dir=cache_dir,
        )
    assert not list((tmp_path / "weights").rglob("card.json"))


@pytest.mark.filterwarnings("ignore")  # TensorFlow warns of its own SavedModel code
def test_a_saved_model_has_scores_and_no_heat_maps(
    tmp_path: Path, cache_dir: Path
) -> None:
    theirs = foreign.flat_cnn(augmented=False)
    theirs.export(tmp_path / "theirs", verbose=False)
    import_request = request(tmp_path / "theirs", activation="probabilities")
    weights_dir = tmp_path / "weights"
    done = import_model(
        import_request, images=IMAGES, weights_dir=weights_dir, cache_dir=cache_dir
    )
    card = get_card("theirs", weights_dir=weights_dir)
    assert not card.heat_maps
    assert any("no heat maps" in limit for limit in card.limits)
    assert card.raw["imported"]["source_sha256"] == folder_sha256(tmp_path / "theirs")
    assert done.checked["labels_with_heat_maps"] == 0
    model_output = load_model(card, cache_dir=cache_dir).read(IMAGES["b"])
    image, _ = preprocess(IMAGES["b"], size=foreign.SIZE, channels=3, scaling="0-255")
    expected = theirs.predict_on_batch(image[None])[0]
    assert np.abs([s.probability for s in model_output.scores] - expected).max() < 1e-3
    assert model_output.scores[0].grid.size == 0
    with pytest.raises(ModelError, match="Keras cannot run"):
        load_model(card, cache_dir=cache_dir, runner="keras")
    with pytest.raises(ModelError, match="--activation"):
        import_model(
            request(tmp_path / "theirs", name="again"),
            images=IMAGES,
            weights_dir=weights_dir,
            cache_dir=cache_dir,
        )
    assert [path.name for path in weights_dir.iterdir()] == ["theirs"]


def test_a_network_with_equal_outputs_for_all_images_is_refused(
    tmp_path: Path, cache_dir: Path
) -> None:
    theirs = foreign.flat_cnn()
    dense = theirs.layers[-1]
    dense.set_weights([np.zeros_like(w) for w in dense.get_weights()])
    theirs.save(tmp_path / "theirs.keras")
    with pytest.raises(ModelError, match="all 2 images the same scores"):
        import_model(
            request(tmp_path / "theirs.keras"),
            images=IMAGES,
            weights_dir=tmp_path / "weights",
            cache_dir=cache_dir,
        )
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Their Model"}, "lower-case letters"),
        ({"version": "new"}, "numbers and dots"),
        ({"labels": ("A", "A")}, "no two may be the same"),
        ({"scaling": "0-100"}, "no scaling 0-100"),
        ({"file": Path("none.keras")}, "none.keras does not exist"),
    ],
)
def test_an_invalid_import_request_is_refused_before_opening_the_file(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    file = tmp_path / "theirs.keras"
    file.write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        import_model(
            request(file, **changes),
            images=IMAGES,
            weights_dir=tmp_path,
            cache_dir=tmp_path,
        )


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_scaled_as_the_network_expects(scaling: str, channels: int) -> None:
    white = np.full((40, 30), 65535, np.uint16)
    image, geometry = preprocess(white, size=16, channels=channels, scaling=scaling)
    assert image.shape == (16, 16, channels)
    assert image.dtype == np.float32
    assert (geometry.height, geometry.width, geometry.top) == (40, 30, 0)
    highest = {"0-1": 1, "0-255": 255, "-1-1": 1, "imagenet": 2.64, "caffe": 151.061}
    assert image.max() == pytest.approx(
        highest[scaling], abs=0.3 if channels == 3 else 40
    )
    lowest, _ = preprocess(white * 0, size=16, channels=channels, scaling=scaling)
    assert lowest.max() < image.min()


def test_option_values_may_begin_with_a_minus(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none\.keras does not exist"):
        call_command(
            "import_model",
            str(tmp_path / "none.keras"),
            "--labels=A,B",
            "--scaling",
            "-1-1",
        )


def test_the_hash_of_a_folder_includes_file_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = folder_sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert folder_sha256(tmp_path) != before
