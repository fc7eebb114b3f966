"""The model pages: list, card, history, decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounts.models import AuditEvent, Role
from diagnoses.models import ModelVersion, OperatingPoint
from diagnoses.pages.model.practice import measurement_groups
from ml.cards import card as registry
from ml.cards.card import parse_card
from ml.cards.measurements import command_text
from tests.clients import html, person
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json, installed_model
from tests.factories import ModelVersionFactory

pytestmark = pytest.mark.django_db


def shipped_models() -> list[ModelVersion]:
    """Return the models that come with the code, as rows."""
    cards = registry.list_cards()
    newest = {card.name: card.version for card in cards if card.weights_sha256}
    return [
        ModelVersionFactory(
            name=card.name,
            version=card.version,
            card=card.raw,
            state="active" if newest.get(card.name) == card.version else "installed",
            weights_sha256=card.weights_sha256 or "",
        )
        for card in cards
    ]


def test_every_shipped_card_is_shown_completely() -> None:
    client = person(Role.DATA_SCIENTIST)
    cards = registry.list_cards()
    assert len(shipped_models()) == len(cards) > 0
    listed = html(client, "/models/")

    for card in cards:
        address = f"/models/{card.name}/"
        page = html(client, f"{address}?version={card.version}")
        page = page.replace("&#x27;", "'").replace("&amp;", "&")
        assert address in listed
        for statement in (*card.limits, *card.not_measured, card.intended_use):
            assert statement in page
        for source in card.training_data:
            assert source.dataset in page
            assert source.licence in page
        for label in card.labels:
            assert label.display in page
            assert label.snomed in page
        assert (card.weights_sha256 or "No weights shipped") in page


def test_the_page_says_why_the_demo_does_not_use_a_model() -> None:
    mean_auc = {"value": 0.48, "low": 0.43, "high": 0.63}
    measured = {"metrics": {"val_nih": {"n": 9, "patients": 9, "mean_auc": mean_auc}}}
    ModelVersionFactory(name="guess", card=card_json("guess") | measured)
    ModelVersionFactory(name="other", card=card_json("other"))
    client = person(Role.DATA_SCIENTIST)
    sentence = "mean AUC 0.48 (95 % interval 0.43 to 0.63; chance is 0.50) on nih"
    assert sentence in html(client, "/models/guess/")
    assert "No better than chance" not in html(client, "/models/other/")


def test_the_page_names_the_labels_that_can_be_flagged() -> None:
    ModelVersionFactory(card=card_json(), claimed_labels=["Normal"])
    page = html(person(Role.DATA_SCIENTIST), f"/models/{DEFAULT_MODEL}/")
    assert "The card claims an accuracy for: Normal." in page
    ModelVersion.objects.update(claimed_labels=[])
    page = html(person(Role.DATA_SCIENTIST), f"/models/{DEFAULT_MODEL}/")
    assert "claims no accuracy for any label" in page


def test_metrics_have_their_intervals_and_name_their_images() -> None:
    raw = card_json()
    raw["labels"] = [
        {"name": name, "display": name, "snomed": "1"}
        for name in ("Tuberculosis", "Normal", "COVID-19")
    ]
    names = [label["name"] for label in raw["labels"]]
    raw["thresholds"] = {"values": dict.fromkeys(names, 0.5)}
    raw["metrics"] = {
        "val": {
            "n": 900,
            "patients": 530,
            "balanced_accuracy": {"value": 0.671, "low": 0.6122, "high": 0.7036},
            "labels": {
                "Normal": {
                    "auc": 0.9,
                    "precision": 0.75,
                    "sensitivity": 0.8,
                    "sensitivity_at_threshold": 0.85,
                    "intervals": {"auc": [0.85, 0.94]},
                    "claimed": True,
                    "positives": 215,
                },
                "Tuberculosis": {"positives": 0},
                "COVID-19": {"auc": 0.0, "claimed": False, "positives": 1},
            },
        },
        "val_kermany_crop_equalise": {"n": 2, "pair": ["A", "B"]},
        "val_expected_calibration_error": 0.05,
    }
    groups = measurement_groups(parse_card(raw, folder=Path()))

    assert [group.title for group in groups] == [
        "Validation images",
        "Validation images of kermany, borders cropped and histograms equalised"
        ": A against B",
    ]
    counted, accuracy = groups[0].metrics
    assert counted.value == "900 images, 530 patients"
    assert (accuracy.value, accuracy.interval) == ("0.67", "0.61–0.70")
    normal, covid = (
        {cell.name: cell.value for cell in row.cells} for row in groups[0].rows
    )
    assert (normal["AUC"], normal["Precision"]) == ("0.90 (0.85–\u20600.94)", "0.75")
    assert (normal["Sensitivity"], normal["Sensitivity of the mark"]) == (
        "0.80",
        "0.85",
    )
    assert normal["Images"] == "215"
    assert (covid["AUC"], covid["Images"]) == ("too few", "1")


def test_a_command_is_quoted_for_a_shell() -> None:
    arguments = ["python", "evaluate", "--root", "$CHESTX_DATA", "--pair", "A,B c"]
    assert command_text(arguments) == (
        """python evaluate --root "$CHESTX_DATA" --pair 'A,B c'"""
    )


def test_the_threshold_in_force_replaces_that_of_the_card() -> None:
    version = installed_model()
    OperatingPoint.objects.create(
        model_version=version, label="Tuberculosis", value=0.37, method="a decision"
    )

    page = html(person(Role.CLINICIAN), f"/models/{version.name}/")

    assert "0.37" in page


def test_the_active_version_is_first_and_the_others_sorted_by_number() -> None:
    old = installed_model(state="retired")
    card = {**old.card, "version": "2"}
    ModelVersionFactory(name=old.name, version="2", card=card)
    client = person(Role.CLINICIAN)

    assert "In use" in html(client, f"/models/{old.name}/")
    older = html(client, f"/models/{old.name}/?version=1")
    assert "Retired" in older
    assert client.get(f"/models/{old.name}/?version=9").status_code == 404
    assert client.get("/models/nobody/").status_code == 404


def test_training_curves_are_an_image_without_scripts() -> None:
    client = person(Role.CLINICIAN)
    with_curves = [
        version
        for version in shipped_models()
        if (
            registry.WEIGHTS_DIR / version.name / version.version / "curves.svg"
        ).exists()
    ]
    assert with_curves
    for version in with_curves:
        path = f"/models/{version.name}/curves.svg?version={version.version}"
        answer = client.get(path)
        assert answer["Content-Type"] == "image/svg+xml"
        assert "script-src" not in answer["Content-Security-Policy"]
        assert "default-src 'none'" in answer["Content-Security-Policy"]
        assert b"<svg" in b"".join(answer.streaming_content)
    installed = installed_model("without-curves")
    assert client.get(f"/models/{installed.name}/curves.svg").status_code == 404


def test_model_pages_name_no_patient_and_are_not_audited() -> None:
    client = person(Role.DATA_SCIENTIST)
    shipped_models()

    client.get("/models/")

    assert not AuditEvent.objects.filter(action="view").exists()


@pytest.mark.parametrize(
    ("address", "typed", "field"),
    [
        (
            "decide",
            {"decision": "activate", "reason": "Better here"},
            "without_acceptance",
        ),
        (
            "thresholds",
            {"label": "Tuberculosis", "value": "7", "reason": "Better here"},
            "value",
        ),
        (
            "thresholds",
            {"label": "Tuberculosis", "value": "x", "reason": "Better here"},
            "value",
        ),
    ],
)
def test_a_refused_form_keeps_what_was_typed_with_the_error_beside_the_field(
    address: str, typed: dict[str, str], field: str
) -> None:
    version = installed_model(state="installed")
    ModelVersion.objects.filter(pk=version.pk).update(weights_sha256="0" * 64)
    form = {"version": version.version, **typed}

    answer = person(Role.ADMIN).post(f"/models/{version.name}/{address}/", form)

    page = answer.content.decode()
    assert answer.status_code in (400, 409)
    assert 'value="Better here"' in page
    beside = page.split(f'name="{field}"')[1].split("</label>")[0]
    assert 'class="errors"' in beside
    assert not OperatingPoint.objects.filter(value__gt=1).exists()


def test_the_page_says_what_the_thresholds_flag_and_why_the_model_is_the_default() -> (
    None
):
    card = card_json()
    card["schema_version"] = 2
    card.pop("metrics")
    card["measurements"] = []
    card["thresholds"]["normals"] = {
        "share": 0.1,
        "flagged": 0.098,
        "flagged_by_this_model": 0.042,
        "dataset": "rsna-normal",
        "licence": "research",
        "images": 1274,
        "patients": 1274,
        "models": ["one 1.0.0", "two 1.0.0"],
        "sensitivity": [
            {
                "label": "Bacterial pneumonia",
                "positives": 193,
                "value": 0.91,
                "before": 0.95,
            }
        ],
        "pneumonia": {"kermany": 0.91},
        "command": [],
    }
    card["chosen_by"] = {
        "metric": "balanced_accuracy",
        "dataset": "kermany",
        "images": 370,
        "patients": 201,
        "value": {"value": 0.85, "low": 0.81, "high": 0.88},
        "runner_up": "two 1.0.0",
        "runner_up_value": 0.83,
        "difference": {"value": 0.02, "low": -0.01, "high": 0.05},
        "command": [],
    }
    ModelVersionFactory(card=card)
    page = html(person(Role.DATA_SCIENTIST), "/models/chestx6-resnet50/")
    assert "any of one 1.0.0, two 1.0.0 flags 9.8 %, this model 4.2 %" in page
    assert "calls 91.0 % of 193 held-out training images" in page
    assert "the runner-up two 1.0.0 reached 0.83" in page
    assert "difference 0.02 (95 % interval -0.01 to 0.05)" in page
