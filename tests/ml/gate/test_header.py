"""Rejections by header and pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

from ml.cards.card import Card, parse_card
from ml.gate.header import ImageFacts, check_header, check_image, facts_of_dataset
from tests.ml.image_factory import chest_like, dataset_of

CHEST = ImageFacts(
    modality="DX",
    body_part_examined="CHEST",
    view_position="PA",
    descriptions=(),
    photometric_interpretation="MONOCHROME2",
    frames=1,
    picture=False,
)


def reason(card: Card, **changes: Any) -> str | None:
    rejection = check_header(card, replace(CHEST, **changes))
    return rejection.reason_code if rejection else None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modality": "CR", "view_position": "AP"},
        {"body_part_examined": "", "view_position": ""},
        {"body_part_examined": "CHEST_PORTABLE"},
        {"body_part_examined": "", "descriptions": ("chest and left shoulder",)},
        {"view_position": "", "descriptions": ("chest pa & lat",)},
        {"view_position": "", "descriptions": ("lateral decubitus",)},
        {"view_position": "LLD"},
        {"picture": True, "modality": "", "body_part_examined": ""},
    ],
)
def test_frontal_chest_images_are_accepted(
    plain_card: Card, changes: dict[str, Any]
) -> None:
    assert reason(plain_card, **changes) is None


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("wrong_modality", {"modality": "CT"}),
        ("wrong_modality", {"modality": ""}),
        ("wrong_species", {"species": "Canis lupus familiaris"}),
        ("wrong_body_part", {"body_part_examined": "HAND"}),
        ("wrong_body_part", {"body_part_examined": "RIBCAGE"}),
        ("wrong_body_part", {"body_part_examined": "", "descriptions": ("knee ap",)}),
        ("lateral_view", {"view_position": "LL"}),
        ("lateral_view", {"view_position": "LATERAL"}),
        ("lateral_view", {"view_position": "", "descriptions": ("chest lateral",)}),
        ("colour_image", {"colour": True}),
        ("colour_image", {"colour": True, "picture": True}),
        ("multi_frame", {"frames": 2}),
    ],
)
def test_other_images_are_rejected_with_their_reason(
    plain_card: Card, code: str, changes: dict[str, Any]
) -> None:
    assert reason(plain_card, **changes) == code


@pytest.mark.parametrize(
    ("values", "species"),
    [
        ({}, ""),
        ({"PatientSpeciesDescription": "Homo sapiens"}, ""),
        ({"PatientSpeciesDescription": "HUMAN "}, ""),
        ({"PatientSpeciesDescription": "Feline"}, "Feline"),
        ({"PatientBreedDescription": "Beagle"}, "Beagle"),
    ],
)
def test_an_animal_is_known_by_its_species_or_breed(
    values: dict[str, str], species: str
) -> None:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    assert facts_of_dataset(dataset).species == species


def test_facts_are_read_from_a_header() -> None:
    dataset = dataset_of(chest_like(), SeriesDescription="Thorax p.a.")
    facts = facts_of_dataset(dataset)
    assert facts == replace(CHEST, descriptions=("thorax p.a.",))


def test_rows_in_anterior_direction_are_a_lateral_view(plain_card: Card) -> None:
    dataset = dataset_of(chest_like(), PatientOrientation=["A", "F"])
    dataset.ViewPosition = ""
    rejection = check_header(plain_card, facts_of_dataset(dataset))
    assert rejection is not None
    assert rejection.reason_code == "lateral_view"


@pytest.mark.parametrize("keyword", ["PatientOrientation", "ViewCodeSequence"])
def test_a_number_of_the_wrong_type_is_ignored(keyword: str) -> None:
    header = Dataset()
    header.Modality = "DX"
    header.add_new(keyword, "US", 1)
    facts = facts_of_dataset(header)
    assert (facts.modality, facts.view_position, facts.descriptions) == ("DX", "", ())


def test_a_coded_view_is_read() -> None:
    code = Dataset()
    code.CodeMeaning = "Lateral"
    dataset = dataset_of(chest_like(), ViewPosition="", ViewCodeSequence=[code])
    assert facts_of_dataset(dataset).view_position == "LATERAL"


def test_an_image_is_not_blank() -> None:
    assert check_image(chest_like(), colour=False) is None


@pytest.mark.parametrize("kind", ["flat", "noise", "single pixel"])
def test_blank_images_are_rejected(kind: str) -> None:
    image = np.full((1280, 1280), 30000, np.uint16)
    if kind == "noise":
        image = np.random.default_rng(0).integers(0, 8000, image.shape).astype("u2")
    if kind == "single pixel":
        image[5, 5] = 65535
    rejection = check_image(image, colour=False)
    assert rejection is not None
    assert rejection.reason_code == "blank_image"


def test_colour_is_rejected() -> None:
    rejection = check_image(chest_like(), colour=True)
    assert rejection is not None
    assert rejection.reason_code == "colour_image"


def with_accepts(card: Card, **accepts: Any) -> Card:
    """Return a card that accepts something else."""
    raw = {**card.raw, "accepts": {**card.raw["accepts"], **accepts}}
    return parse_card(raw, folder=card.weights_file.parent)


@pytest.mark.parametrize(
    ("age_years", "code"),
    [
        (None, None),
        (17.9, "wrong_age"),
        (18.0, None),
        (90.5, None),
        (91.0, "wrong_age"),
    ],
)
def test_a_known_age_that_the_card_excludes_is_rejected(
    plain_card: Card, age_years: float | None, code: str | None
) -> None:
    adults = with_accepts(plain_card, age_years=[18, 90])
    assert reason(adults, age_years=age_years) == code
    assert reason(adults, age_years=age_years, picture=True) == code


def with_label_ages(card: Card, ages: Mapping[str, list[list[int]]]) -> Card:
    """Return a card whose labels were measured at certain ages."""
    labels = [
        {**label, "age_years": ages.get(label["name"], [])}
        for label in card.raw["labels"]
    ]
    return parse_card({**card.raw, "labels": labels}, folder=card.weights_file.parent)


@pytest.mark.parametrize(
    ("other", "age_years", "code"),
    [
        ([[1, 5]], 40.0, "wrong_age"),
        ([[1, 5]], 4.0, None),
        ([[1, 5]], None, None),
        ([[18, 120]], 40.0, None),
        ([], 40.0, None),
    ],
)
def test_an_age_at_which_no_finding_was_measured_is_rejected(
    plain_card: Card, other: list[list[int]], age_years: float | None, code: str | None
) -> None:
    ages = {"Bacterial pneumonia": [[1, 5]], "Viral pneumonia": other}
    card = with_label_ages(plain_card, ages)
    assert reason(card, age_years=age_years) == code


def test_a_card_without_ages_accepts_every_age(plain_card: Card) -> None:
    assert reason(plain_card, age_years=2.0) is None


@pytest.mark.parametrize(
    ("attributes", "age_years"),
    [
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "067Y", "PatientBirthDate": "20000101"}, 67.0),
        ({"PatientBirthDate": "20000101", "StudyDate": "20100101"}, 10.0),
        ({"PatientBirthDate": "20100101", "StudyDate": "20000101"}, None),
        ({"PatientAge": "old", "PatientBirthDate": "19"}, None),
        ({}, None),
    ],
)
def test_the_age_at_the_examination_is_read(
    attributes: dict[str, str], age_years: float | None
) -> None:
    header = Dataset()
    for keyword, value in attributes.items():
        with pydicom_config.disable_value_validation():
            setattr(header, keyword, value)
    age = facts_of_dataset(header).age_years
    assert age == (None if age_years is None else pytest.approx(age_years, abs=0.01))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"descriptions": ("brain with contrast",)}, None),
        ({"descriptions": ("t1 axial",)}, None),
        ({"descriptions": ("knee left",)}, "wrong_body_part"),
        ({"descriptions": ("thorax",)}, "wrong_body_part"),
        ({"modality": "DX"}, "wrong_modality"),
    ],
)
def test_a_head_model_has_its_own_body_part_words(
    plain_card: Card, changes: dict[str, Any], code: str | None
) -> None:
    brain = with_accepts(
        plain_card, modalities=["MR"], body_parts=["HEAD", "BRAIN"], views=[]
    )
    slice_facts = {"modality": "MR", "body_part_examined": "", "view_position": ""}
    assert reason(brain, **{**slice_facts, **changes}) == code


@pytest.mark.parametrize(
    ("description", "species"),
    [
        ("CANINE Lateral Thorax 0-15cm", "CANINE"),
        ("Thorax VD, feline", "feline"),
        ("Chest PA", ""),
        ("CAT chest", ""),
        ("Canine tooth right", ""),
        ("Canines", ""),
    ],
)
def test_an_animal_is_known_by_a_word_of_a_description(
    description: str, species: str
) -> None:
    dataset = Dataset()
    dataset.SeriesDescription = description
    assert facts_of_dataset(dataset).species == species
