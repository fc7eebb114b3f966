"""The archive in the admin: search, conflicts, assignments."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pydicom.uid import generate_uid

from accounts.models import AuditEvent, Role
from patients.identity.corrections import correct_patient
from patients.models import (
    Patient,
    PatientAssignment,
    Study,
    StudyFlag,
    Upload,
)
from tests.clients import person
from tests.dicom_factory import image_bytes
from tests.factories import (
    DepartmentFactory,
    InstanceFactory,
    PatientFactory,
    StudyFactory,
    UploadFactory,
)
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
KINDS = ("patient", "study", "series", "instance", "upload", "patientassignment")


@pytest.fixture
def admin() -> Client:
    """Give the browser of an administrator."""
    return person(Role.ADMIN)


def list_url(kind: str) -> str:
    return reverse(f"admin:patients_{kind}_changelist")


def row_url(kind: str, key: Any) -> str:
    return reverse(f"admin:patients_{kind}_change", args=[key])


def choose(client: Client, kind: str, action: str, *rows: Any) -> str:
    """Choose an action for rows of a list; return the page that follows."""
    choice = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    answer = client.post(list_url(kind), choice, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def everything() -> dict[str, Any]:
    """Make one row of each kind."""
    instance = InstanceFactory()
    study = instance.series.study
    upload = UploadFactory(instance=instance)
    assert upload.user is not None
    assignment = PatientAssignment.objects.create(
        study=study,
        from_patient=PatientFactory(),
        to_patient=study.patient,
        assigned_by=upload.user,
    )
    return {
        "patient": study.patient,
        "study": study,
        "series": instance.series,
        "instance": instance,
        "upload": upload,
        "patientassignment": assignment,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_viewing_lists_and_rows_is_audited(admin: Client, kind: str) -> None:
    made = everything()
    assert admin.get(list_url(kind)).status_code == 200
    page = admin.get(row_url(kind, made[kind].pk))
    assert page.status_code == 200
    events = AuditEvent.objects.filter(source="admin", object_kind=kind)
    assert [event.action for event in events.order_by("at")] == ["list", "view"]
    for event in events:
        seen = {s.patient_uuid for s in event.subjects.all()}
        assert made["patient"].pk in seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_list_makes_no_query_per_row(admin: Client, kind: str) -> None:
    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert admin.get(list_url(kind)).status_code == 200
        return len(queries)

    everything()
    cost()
    few = cost()
    for _ in range(6):
        everything()
    assert cost() == few


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_only_permitted_roles_open_the_admin_pages(kind: str) -> None:
    key = everything()[kind].pk
    for role in (Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.DATA_SCIENTIST):
        client = person(role)
        for url in (list_url(kind), row_url(kind, key)):
            assert client.get(url).status_code in (302, 403, 404)


def test_the_auditor_opens_no_admin_pages_of_patients() -> None:
    made = everything()
    study = made["study"]
    auditor = person(Role.AUDITOR)
    for kind in KINDS:
        for url in (list_url(kind), row_url(kind, made[kind].pk)):
            assert auditor.get(url).status_code == 403
    reconcile = reverse("admin:patients_study_reconcile", args=[study.pk])
    assert auditor.post(reconcile, {"reason": "checked"}).status_code == 403
    assign = reverse("admin:patients_study_assign", args=[study.pk])
    assert auditor.get(assign).status_code == 403
    assert auditor.post(assign, {"patient_id": "P-9"}).status_code == 403


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "patient"])
def test_rows_cannot_be_added_changed_or_deleted_by_hand(
    admin: Client, kind: str
) -> None:
    key = everything()[kind].pk
    assert admin.post(row_url(kind, key), {"description": "x"}).status_code == 403
    assert admin.get(reverse(f"admin:patients_{kind}_add")).status_code == 403
    delete = reverse(f"admin:patients_{kind}_delete", args=[key])
    assert admin.post(delete, {"post": "yes"}).status_code == 403


def test_a_corrected_name_is_searchable_and_audited(
    admin: Client,
) -> None:
    patient = StudyFactory().patient
    page = admin.get(row_url("patient", patient.pk))
    form = page.context["adminform"].form
    form_data = {name: form.initial.get(name) or "" for name in form.fields}
    answer = admin.post(
        row_url("patient", patient.pk),
        {**form_data, "family_name": "Weiß", "reason": "passport seen"},
    )
    assert answer.status_code == 302
    patient.refresh_from_db()
    assert (patient.family_name, patient.name_folded) == ("Weiß", "weiss given")
    event = AuditEvent.objects.get(action="change")
    assert "Weiß" not in str(event.detail)


def test_the_identifier_of_another_patient_is_refused_in_the_form(
    admin: Client,
) -> None:
    other, patient = PatientFactory(), StudyFactory().patient
    page = admin.get(row_url("patient", patient.pk))
    form = page.context["adminform"].form
    form_data = {name: form.initial.get(name) or "" for name in form.fields}
    taken = {"patient_id": other.patient_id, "issuer": other.issuer, "reason": "typo"}
    answer = admin.post(row_url("patient", patient.pk), {**form_data, **taken})
    assert "already exists" in answer.content.decode()
    assert Patient.objects.get(pk=patient.pk).patient_id == patient.patient_id


def test_a_correction_is_listed_and_can_be_undone(admin: Client) -> None:
    patient = StudyFactory().patient
    former = patient.family_name
    correction = correct_patient(
        patient, {"family_name": "Weiß"}, actor=admin.user, reason="passport seen"
    )
    assert "Weiß" in admin.get(list_url("patientcorrection")).content.decode()
    page = choose(admin, "patientcorrection", "undo", correction)
    assert "The correction was undone." in page
    patient.refresh_from_db()
    assert patient.family_name == former


def test_a_correction_without_a_reason_changes_nothing(admin: Client) -> None:
    patient = StudyFactory().patient
    page = admin.get(row_url("patient", patient.pk))
    form = page.context["adminform"].form
    form_data = {name: form.initial.get(name) or "" for name in form.fields}
    answer = admin.post(
        row_url("patient", patient.pk), {**form_data, "family_name": "Weiß"}
    )
    assert "This field is required." in answer.content.decode()
    assert Patient.objects.get(pk=patient.pk).family_name == patient.family_name


def test_patients_and_studies_are_found_as_on_the_pages(admin: Client) -> None:
    wanted = StudyFactory(
        patient=PatientFactory(family_name="Müller", patient_id="M-77"),
        accession_number="ACC-77",
    )
    StudyFactory()
    for kind, row in (("patient", wanted.patient), ("study", wanted)):
        for text in ("mull", "M-7", "ACC-7"):
            page = admin.get(list_url(kind), {"q": text})
            assert [r.pk for r in page.context["cl"].result_list] == [row.pk], text
        assert len(admin.get(list_url(kind), {"q": " "}).context["cl"].result_list) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("study", {"flag": "accession_shared"}),
        ("study", {"identified": "no"}),
        ("study", {"priority__exact": "0"}),
        ("patient", {"identified": "no"}),
        ("upload", {"conflict": "open"}),
        ("upload", {"conflict": "resolved"}),
        ("upload", {"q": "image"}),
        ("instance", {"synthetic__exact": "0"}),
        ("instance", {"q": "2.25"}),
        ("series", {"modality__exact": "DX"}),
        ("patientassignment", {"undone_at__isempty": "1"}),
    ],
)
def test_every_list_filter_works(
    admin: Client, kind: str, query: dict[str, str]
) -> None:
    everything()
    assert admin.get(list_url(kind), query).status_code == 200


def test_a_study_can_be_assigned_and_the_assignment_undone(admin: Client) -> None:
    study = send(image_bytes(PatientID=None)).study
    url = reverse("admin:patients_study_assign", args=[study.pk])
    assert url in admin.get(row_url("study", study.pk)).content.decode()
    assert admin.get(url).status_code == 200
    wrong = admin.post(url, {"patient_id": "a\\b", "reason": "called"})
    assert "Remove backslashes" in wrong.content.decode()
    right = {"patient_id": "P-9", "reason": "called"}
    assert admin.post(url, right).status_code == 302
    study.refresh_from_db()
    assert study.patient.patient_id == "P-9"

    assignment = PatientAssignment.objects.get()
    assert assignment.assigned_by == admin.user
    page = choose(admin, "patientassignment", "undo", assignment)
    assert "1 assignment undone" in page
    study.refresh_from_db()
    assert not study.patient.identified
    page = choose(admin, "patientassignment", "undo", assignment)
    assert "Only the newest assignment" in page


def test_a_flag_is_reconciled_with_a_decision_and_a_reason(admin: Client) -> None:
    study = StudyFactory(flags=[flag.value for flag in StudyFlag])
    url = reverse("admin:patients_study_reconcile", args=[study.pk])
    for flag in StudyFlag:
        decision = {"flag": flag.value, "choice": "no_error", "reason": "two visits"}
        page = admin.post(url, decision, follow=True).content.decode()
        assert "The flag was reconciled." in page
    study.refresh_from_db()
    assert study.flags == []
    changes = AuditEvent.objects.filter(action="change", object_uuid=study.pk)
    assert changes.count() == len(StudyFlag)
    assert "two visits" in admin.get(row_url("study", study.pk)).content.decode()


def test_a_flag_is_not_reconciled_without_a_reason(admin: Client) -> None:
    study = StudyFactory(flags=["accession_shared"])
    url = reverse("admin:patients_study_reconcile", args=[study.pk])
    answer = admin.post(url, {"flag": "accession_shared", "choice": "no_error"})
    assert "This field is required." in answer.content.decode()
    study.refresh_from_db()
    assert study.flags == ["accession_shared"]


def test_the_page_of_a_decision_shows_both_values(admin: Client) -> None:
    send(image_bytes())
    study = send(image_bytes(PatientName="Roe^John")).study
    url = reverse("admin:patients_study_reconcile", args=[study.pk])
    page = admin.get(url).content.decode()
    assert "Roe, John" in page
    assert study.patient.family_name in page


def test_conflicts_can_be_listed_and_resolved(admin: Client) -> None:
    uid = generate_uid()
    first = send(image_bytes(StudyInstanceUID=uid, PatientID=None))
    conflicts = [
        send(image_bytes(StudyInstanceUID=uid, PatientID="P-9")).upload
        for _ in range(3)
    ]
    listed = admin.get(list_url("upload"), {"conflict": "open"})
    assert set(listed.context["cl"].result_list) == set(conflicts)
    assert first.instance.sop_instance_uid in listed.content.decode()

    assert "1 conflict resolved" in choose(admin, "upload", "keep_stored", conflicts[0])
    assert "1 copy discarded" in choose(admin, "upload", "discard", conflicts[1])
    assert "still not accepted" in choose(admin, "upload", "send_again", conflicts[2])
    assign = reverse("admin:patients_study_assign", args=[first.study.pk])
    admin.post(assign, {"patient_id": "P-9", "reason": "called"})
    page = choose(admin, "upload", "send_again", *conflicts)
    assert "1 file accepted" in page
    assert "already resolved" in page
    resolutions = [Upload.objects.get(pk=c.pk).resolution for c in conflicts]
    assert resolutions == ["kept_stored", "discarded", "ingested"]
    assert Study.objects.get().series.count() == 2
    assert AuditEvent.objects.filter(action="resolve_conflict").count() == 3


def test_markup_in_a_name_is_escaped(admin: Client) -> None:
    DepartmentFactory()
    study = StudyFactory(patient=PatientFactory(family_name="<script>alert(1)"))
    for url in (
        list_url("patient"),
        list_url("study"),
        row_url("patient", study.patient_id),
        row_url("study", study.pk),
        reverse("admin:patients_study_assign", args=[study.pk]),
    ):
        page = admin.get(url).content.decode()
        assert "<SCRIPT>ALERT" not in page.upper()
    assert Patient.objects.count() == 1
