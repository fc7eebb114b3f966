"""Cursors reveal nothing, and belong to one user and one list."""

import base64
from datetime import date

import pytest
from django.test import override_settings

from accounts.keyset import CursorError, Ordering
from accounts.models import User
from patients.models import Patient, Study

READER, OTHER = User(username="reader"), User(username="other")
PATIENT = Patient(
    patient_id="MRN-4711", name_folded="wanderweg", birth_date=date(1961, 4, 5)
)
ORDERING = Ordering.of(Patient, ("name_folded", "birth_date", "patient_id"))


def _cursor() -> str:
    return ORDERING.cursor(PATIENT, reader=READER, list_name="patients")


def test_a_cursor_is_read_by_its_own_user_in_its_own_list() -> None:
    position = ORDERING.position(_cursor(), reader=READER, list_name="patients")
    assert position.values == ("wanderweg", date(1961, 4, 5), "MRN-4711", PATIENT.pk)


def test_a_cursor_reveals_no_name_date_or_identifier() -> None:
    sealed = base64.urlsafe_b64decode(_cursor() + "==")
    for value in (b"wanderweg", b"1961", b"4711", str(PATIENT.pk).encode()):
        assert value not in sealed


def test_a_cursor_is_short_and_fits_into_an_address_as_it_is() -> None:
    cursor = _cursor()
    assert len(cursor) < 180
    assert set(cursor) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@pytest.mark.parametrize(
    ("ordering", "reader", "list_name"),
    [
        (ORDERING, OTHER, "patients"),
        (ORDERING, READER, "worklist"),
        (Ordering.of(Patient, ("-name_folded",)), READER, "patients"),
        (Ordering.of(Study, ("study_date",)), READER, "patients"),
    ],
)
def test_another_user_list_or_ordering_refuses_a_cursor(
    ordering: Ordering, reader: User, list_name: str
) -> None:
    with pytest.raises(CursorError):
        ordering.position(_cursor(), reader=reader, list_name=list_name)


def test_a_changed_cursor_is_refused() -> None:
    cursor = _cursor()
    for at in range(len(cursor)):
        changed = cursor[:at] + ("B" if cursor[at] == "A" else "A") + cursor[at + 1 :]
        # The last letter has bits that belong to no byte.
        if at < len(cursor) - 1:
            with pytest.raises(CursorError):
                ORDERING.position(changed, reader=READER, list_name="patients")


@pytest.mark.parametrize(
    "text", ["", "A", "AAAA", "A" * 22, "A" * 23, "\x00", "\ud800", "é", "=" * 5]
)
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        ORDERING.position(text, reader=READER, list_name="patients")


def test_a_cursor_outlives_a_restart_but_not_another_secret_key() -> None:
    with override_settings(SECRET_KEY="k" * 50):
        cursor = _cursor()
    with override_settings(SECRET_KEY="k" * 50):
        ORDERING.position(cursor, reader=READER, list_name="patients")
    with pytest.raises(CursorError):
        ORDERING.position(cursor, reader=READER, list_name="patients")
