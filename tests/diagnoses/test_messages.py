"""Every reason of a prediction has a sentence, and every rejection a short word."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.utils.functional import Promise

import ml.errors
from diagnoses.labels import LABEL_NAMES, label_name
from diagnoses.messages import (
    FORMER_REASON_CODES,
    MESSAGES,
    MODEL_UNUSABLE,
    REASON_WORDS,
    message_for,
    placeholders,
    stored_reason,
)
from diagnoses.models import Prediction
from ml import labels
from ml.cards.card import list_cards
from ml.errors import ImageRejected, MlError
from tests.factories import PredictionFactory

# Modules that a worker never runs.
NOT_IN_A_WORKER = ("training", "evaluation", "exchange", "datasets", "architectures")
# Codes that `ml.gate` computes: the classes of its probe.
COMPUTED = ("unlike_training_images", "inverted", "rotated", "cropped")
# Raised where a command reads a file or a card; a worker never meets them.
ONLY_IN_COMMANDS = ("training_refused", "invalid_header", "unreadable_file")
# Rejections that the application and not `ml` makes.
OF_THE_APPLICATION = ("no_model", "no_pixels")


def errors_raised() -> Iterator[tuple[type[MlError], str, str]]:
    """Return each error that ml makes in a worker: class, reason code, place."""
    folder = settings.BASE_DIR / "ml"
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] in NOT_IN_A_WORKER:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            kind = getattr(ml.errors, node.func.id, None)
            if not (isinstance(kind, type) and issubclass(kind, MlError)):
                continue
            place = f"{path.name}:{node.lineno}"
            codes = [k.value for k in node.keywords if k.arg == "reason_code"]
            if not codes:
                yield kind, kind.default_reason_code, place
            elif isinstance(codes[0], ast.Constant):
                yield kind, str(codes[0].value), place


REASON_CODES = {message.reason_code for message in MESSAGES.values()}


def test_every_error_of_ml_has_a_sentence() -> None:
    raised = list(errors_raised())
    assert len(raised) > 20
    missing = [
        f"{place}: {code}"
        for _, code, place in raised
        if code not in REASON_CODES and code not in ONLY_IN_COMMANDS
    ]
    assert missing == []


def test_every_rejection_has_a_sentence_and_a_short_word() -> None:
    rejections = {code for kind, code, _ in errors_raised() if kind is ImageRejected}
    for code in {*rejections, *COMPUTED, *OF_THE_APPLICATION}:
        assert code in REASON_CODES, code
        assert isinstance(REASON_WORDS[code], Promise), code


def test_the_codes_of_messages_are_unique_and_fit_the_column() -> None:
    length = Prediction._meta.get_field("reason_message").max_length
    for code, message in MESSAGES.items():
        assert message.code == code
        assert len(code) <= length


def test_every_reason_code_has_a_sentence_without_placeholders_or_with_all() -> None:
    for code in REASON_CODES - {"worker_lost"}:
        assert placeholders(message_for(code, {})) == set(), code
    assert placeholders(message_for("worker_lost", {"workers": 3})) == {"workers"}


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"modality": "CT", "modalities": "CR, DX"},
            "The modality is CT; the model reads CR, DX.",
        ),
        ({"modalities": "CR"}, "The modality is not given; the model reads CR."),
        ({}, "The model does not read images of this modality."),
    ],
    ids=["all", "some", "none"],
)
def test_the_most_detailed_sentence_is_chosen(
    params: dict[str, str], sentence: str
) -> None:
    assert message_for("wrong_modality", params).format(params) == sentence


def test_a_new_row_keeps_code_and_parameters_and_no_sentence(db: None) -> None:
    given = {"body_part": "KNEE\x00", "body_parts": "CHEST", "file": "/srv/secret"}
    row = Prediction(**stored_reason("wrong_body_part", given))
    assert (row.reason_code, row.reason_message, row.reason) == (
        "wrong_body_part",
        "prediction.wrong_body_part",
        "",
    )
    assert row.reason_params == {"body_part": "KNEE�", "body_parts": "CHEST"}
    assert row.reason_text == "The body part is KNEE�; the model reads CHEST."


def test_a_row_with_a_stored_sentence_shows_it(db: None) -> None:
    row = PredictionFactory(failed=True, reason="Five workers were lost.")
    row.refresh_from_db()
    assert row.reason_text == "Five workers were lost."


def test_an_unknown_reason_has_a_neutral_sentence() -> None:
    assert message_for("never_heard_of", {}) == MODEL_UNUSABLE


def test_former_reason_codes_mean_the_present_ones() -> None:
    for former, present in FORMER_REASON_CODES.items():
        assert message_for(former, {}) == message_for(present, {})
        assert REASON_WORDS[former] == REASON_WORDS[present]


def test_every_label_has_a_name_for_people() -> None:
    known = [
        *labels.CHESTX6_LABELS,
        *labels.NIH15_LABELS,
        *labels.PNEUMONIA_LABELS,
        *labels.TUBERCULOSIS_LABELS,
        *labels.BRAIN_TUMOUR_LABELS,
        *labels.CHEST_LABELS,
        *(label for card in list_cards() for label in card.labels),
    ]
    for label in known:
        assert label.name in LABEL_NAMES, label.name
        assert label_name(label.name) == label.display
    assert label_name("Own label of an import") == "Own label of an import"
    assert label_name("Own_label") == "Own label"


def test_a_card_may_give_a_label_its_own_name() -> None:
    assert label_name("Mass", display="Lung mass") == "Lung mass"
    assert label_name("Mass", display="Breast mass") == "Breast mass"
    assert label_name("Pleural_Thickening", display="") == "Pleural thickening"
