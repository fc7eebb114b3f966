"""Reasons are stored as codes with parameters and shown in the reader's language."""

import ast
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils.translation import override, trans_real

from accounts.errors import InvalidInput
from accounts.messages import Message
from patients import decode, messages
from patients.identity.submitted import SubmittedIdentity, storable_json
from patients.ingest import ingest_instance
from patients.models import Upload
from tests.dicom_factory import image, image_bytes, written
from tests.factories import UploadFactory
from tests.patients.sending import send

CONSTANTS = {
    name: value for name, value in vars(messages).items() if isinstance(value, Message)
}


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a dictionary that is the German catalogue of this test."""
    catalogue: dict[str, str] = {}
    monkeypatch.setattr(
        trans_real.translation("de"),
        "gettext",
        lambda text: catalogue.get(text, f"[{text}]"),
    )
    return catalogue


def test_every_message_is_listed_once() -> None:
    assert len(messages.MESSAGES) == len(CONSTANTS)
    assert set(messages.MESSAGES.values()) == set(CONSTANTS.values())


def test_every_code_fits_its_column() -> None:
    longest = Upload._meta.get_field("reason_message").max_length
    longest_reason = Upload._meta.get_field("reason_code").max_length
    for message in CONSTANTS.values():
        assert len(message.code) <= longest
        assert len(message.reason_code or message.code) <= longest_reason


def test_every_message_of_the_app_is_in_its_module_and_is_used() -> None:
    used: set[str] = set()
    for path in Path(settings.BASE_DIR, "patients").rglob("*.py"):
        tree = ast.parse(path.read_text())
        used |= {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
        }
        if path.name == "messages.py":
            continue
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        made = [call for call in calls if getattr(call, "id", "") == "Message"]
        assert not made, f"{path} makes a message of its own"
    assert set(CONSTANTS) - used <= {"FIELD_PROBLEM"}


@pytest.mark.django_db
def test_a_refused_file_stores_a_code_and_parameters_and_no_sentence(
    settings: Any, german: dict[str, str]
) -> None:
    settings.MAX_FILE_BYTES = 1024 * 1024
    german["The file is larger than %(limit_mb)d MB."] = (
        "Die Datei ist größer als %(limit_mb)d MB."
    )
    result = send(b"\0" * (1024 * 1024 + 1))
    row = Upload.objects.get()
    assert (row.reason_code, row.reason_message) == ("file_too_large",) * 2
    assert (row.reason_params, row.reason) == ({"limit_mb": 1}, "")
    assert row.reason_text == "The file is larger than 1 MB."
    with override("de"):
        assert row.reason_text == "Die Datei ist größer als 1 MB."
        assert result.reason == row.reason_text


@pytest.mark.django_db
def test_the_language_of_the_sender_is_not_stored(german: dict[str, str]) -> None:
    german["The file is empty."] = "Die Datei ist leer."
    with override("de"):
        assert send(b"").reason == "Die Datei ist leer."
    assert Upload.objects.get().reason_text == "The file is empty."


@pytest.mark.django_db
def test_problems_of_fields_are_stored_as_codes_and_translated(
    german: dict[str, str],
) -> None:
    german.update(
        {
            "%(field)s: %(problem)s": "%(field)s: %(problem)s",
            "Sex": "Geschlecht",
            "Enter one of M, F, O.": "Geben Sie M, F oder O ein.",
            "Patient ID": "Patientennummer",
            "Use at most %(limit)d characters.": "Höchstens %(limit)d Zeichen.",
        }
    )
    send(image_bytes(), sex="?", patient_id="x" * 65)
    row = Upload.objects.get()
    assert (row.reason_code, row.reason) == ("invalid_claims", "")
    assert "Enter" not in json.dumps(row.reason_params)
    assert row.reason_text == (
        "Patient ID: Use at most 64 characters. Sex: Enter one of M, F, O."
    )
    with override("de"):
        assert row.reason_text == (
            "Patientennummer: Höchstens 64 Zeichen. "
            "Geschlecht: Geben Sie M, F oder O ein."
        )


@pytest.mark.django_db
def test_fields_that_disagree_are_stored_by_name_and_shown_by_label() -> None:
    send(image_bytes(), patient_id="someone-else", sex="F")
    row = Upload.objects.get()
    assert row.reason_params == {"fields": ["patient_id", "sex"]}
    assert "Patient ID, Sex" in row.reason_text


@pytest.mark.django_db
def test_conflicts_and_duplicates_with_a_note_store_codes() -> None:
    dataset = image()
    send(written(dataset))
    dataset.StudyDescription = "Other"
    conflict = send(written(dataset))
    assert (conflict.upload.reason_message, conflict.upload.reason) == (
        "conflict_header",
        "",
    )
    assert conflict.reason == str(messages.OTHER_HEADER.text)


@pytest.mark.django_db
def test_a_row_with_a_stored_sentence_shows_it(german: dict[str, str]) -> None:
    row = UploadFactory(
        outcome=Upload.Outcome.REFUSED,
        instance=None,
        reason_code="empty_file",
        reason="The file is empty, it seems.",
    )
    row.refresh_from_db()
    assert row.reason_message == ""
    assert row.reason_text == "The file is empty, it seems."
    with override("de"):
        assert row.reason_text == "The file is empty, it seems."


@pytest.mark.django_db
def test_an_unknown_message_code_shows_the_stored_reason() -> None:
    row = UploadFactory(reason_message="gone", reason="What the row says.")
    assert row.reason_text == "What the row says."


def test_parameters_are_stored_as_json_that_postgresql_accepts() -> None:
    params = {
        "name": "a\0b\udcff",
        "number": np.int64(3),
        "ratio": float("nan"),
        "fields": messages.FieldNames(["sex"]),
        "whole": 7,
    }
    stored = storable_json(params)
    assert stored == {
        "name": "a�b�",
        "number": "3",
        "ratio": "nan",
        "fields": ["sex"],
        "whole": 7,
    }
    json.dumps(stored, allow_nan=False)


@pytest.mark.django_db
def test_pixels_that_cannot_be_decoded_are_stored_as_a_code() -> None:
    dataset = image()
    dataset.BitsAllocated = 13
    content = BytesIO(written(dataset))
    result = ingest_instance(
        content,
        name="bits.dcm",
        source=Upload.Source.REST,
        actor=None,
        submitted_identity=SubmittedIdentity(),
    )
    assert result.outcome == Upload.Outcome.REFUSED
    assert result.upload.reason_message in messages.MESSAGES
    assert result.upload.reason == ""


def test_the_decoder_reports_reasons_as_codes(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(b"no image")
    with pytest.raises(InvalidInput) as refused:
        decode.pixel_facts(path)
    assert refused.value.message_code == "unreadable_pixels"
