"""The audit trail: content of events, source, append-only."""

import uuid
from datetime import date

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import RequestFactory, override_settings

from accounts import audit
from accounts.errors import AuditUnavailable
from accounts.models import AuditChange, AuditEvent, AuditSubject
from tests.factories import UserFactory
from tests.owner import by_owner


@pytest.mark.django_db
def test_an_event_keeps_its_actor_action_and_subjects() -> None:
    user, object_uuid, patient = UserFactory(), uuid.uuid4(), uuid.uuid4()
    event = audit.record(
        action=audit.AuditAction.VIEW,
        actor=user,
        source=audit.AuditSource.WEB,
        request=RequestFactory().get("/", REMOTE_ADDR="192.0.2.7"),
        object_kind="study",
        object_uuid=object_uuid,
        patients=[patient, patient],
        detail={"frame": 0},
    )
    event.refresh_from_db()
    assert (event.actor_uuid, event.actor_name) == (user.pk, user.username)
    assert (event.object_kind, event.object_uuid) == ("study", object_uuid)
    assert (event.address, event.outcome) == ("192.0.2.7", "success")
    assert [s.patient_uuid for s in event.subjects.all()] == [patient]
    assert event.at is not None


@pytest.mark.django_db
def test_an_event_is_kept_when_its_user_is_deleted() -> None:
    user = UserFactory()
    event = audit.record(action="view", actor=user, source="web")
    user.delete()
    event.refresh_from_db()
    assert event.actor_name == user.username


@pytest.mark.django_db
@pytest.mark.parametrize("model", [AuditEvent, AuditSubject])
def test_even_the_owner_cannot_change_or_delete_audit_events(
    model: type[AuditEvent] | type[AuditSubject],
) -> None:
    audit.record(action="view", actor=None, source="web", patients=[uuid.uuid4()])
    rows = model.objects.all()
    value = {"action": "x"} if model is AuditEvent else {"patient_uuid": uuid.uuid4()}
    refused = pytest.raises(IntegrityError, match="append-only")
    with refused, transaction.atomic(), by_owner():
        rows.update(**value)
    with refused, transaction.atomic(), by_owner():
        rows._raw_delete(rows.db)


@pytest.mark.django_db
def test_a_failed_audit_write_is_unavailable_and_leaves_no_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AuditUnavailable) as refused:
        audit.record(action="x" * 49, actor=None, source="web")
    assert (refused.value.status, refused.value.permanent) == (503, False)

    def refuse(rows: object) -> None:
        raise IntegrityError("no subjects today")

    monkeypatch.setattr(AuditSubject.objects, "bulk_create", refuse)
    with pytest.raises(AuditUnavailable):
        audit.record(action="view", actor=None, source="web", patients=[uuid.uuid4()])
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        # The client wrote the first entry itself.
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9, 192.0.2.2", "203.0.113.9"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "not an address", None),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "", "192.0.2.1"),
    ],
)
def test_only_the_configured_number_of_proxies_is_trusted(
    proxies: int, forwarded: str, expected: str | None
) -> None:
    request = RequestFactory().get(
        "/", REMOTE_ADDR="192.0.2.1", headers={"X-Forwarded-For": forwarded}
    )
    with override_settings(TRUSTED_PROXY_COUNT=proxies):
        assert audit.client_address(request) == expected


def test_a_request_over_a_unix_socket_has_no_address() -> None:
    assert audit.client_address(RequestFactory().get("/", REMOTE_ADDR="")) is None


@pytest.mark.django_db
def test_changes_are_kept_beside_the_event() -> None:
    patient = uuid.uuid4()
    event = audit.record(
        action="change",
        actor=None,
        source="web",
        changes=[
            audit.Change("birth_date", date(1961, 4, 5), None, patient),
            audit.Change("scopes", ["upload"], []),
        ],
    )
    rows = event.changes.values_list("field", "old", "new", "patient_uuid")
    assert list(rows) == [
        ("birth_date", "1961-04-05", None, patient),
        ("scopes", ["upload"], [], None),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("patient", [None, uuid.UUID(int=1)])
def test_only_an_erasure_deletes_a_change_and_only_of_a_patient(
    patient: uuid.UUID | None,
) -> None:
    change = audit.Change("x", "old", "new", patient)
    audit.record(action="change", actor=None, source="web", changes=[change])
    rows = AuditChange.objects.all()
    for refused in (rows.delete, lambda: rows.update(new="other")):
        with pytest.raises(IntegrityError), transaction.atomic(), by_owner():
            refused()
    with transaction.atomic(), by_owner(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('chestx.erasure', 'on', true)")
        if patient is None:
            with pytest.raises(IntegrityError), transaction.atomic():
                rows.delete()
        else:
            rows.delete()
    assert AuditChange.objects.exists() == (patient is None)
