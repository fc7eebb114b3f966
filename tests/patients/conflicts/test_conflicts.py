"""Files that contradict the record: quarantined, listed, resolved by a person."""

import hashlib
from typing import Any

import pytest
from django.core.files.storage import default_storage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from accounts.errors import Conflict, NotFound
from accounts.models import AuditEvent, Role, User
from patients import resolutions, storage
from patients.ingest import IngestResult
from patients.models import (
    FlagReconciliation,
    Instance,
    Patient,
    Study,
    StudyFlag,
    Upload,
)
from tests.dicom_factory import grey_pixels, image_bytes, png
from tests.factories import DepartmentFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
Outcome, Resolution = Upload.Outcome, Upload.Resolution
SOP_UID = "1.2.3.44"


def quarantined(sha256: str) -> bool:
    return default_storage.exists(f"quarantine/{sha256}")


def test_a_known_study_under_another_patient_is_a_conflict() -> None:
    uid = generate_uid()
    first = send(image_bytes(StudyInstanceUID=uid))
    second = send(image_bytes(StudyInstanceUID=uid, PatientID="P-2"))
    assert (second.outcome, second.reason_code) == ("conflict", "conflict_patient")
    assert second.upload.conflicts_with == first.instance
    assert not Patient.objects.filter(patient_id="P-2").exists()


def test_a_known_study_under_another_issuer_is_a_conflict() -> None:
    uid = generate_uid()
    send(image_bytes(StudyInstanceUID=uid))
    second = send(image_bytes(StudyInstanceUID=uid, IssuerOfPatientID="ELSEWHERE"))
    assert second.reason_code == "conflict_patient"


def test_a_known_series_in_another_study_is_a_conflict() -> None:
    uid = generate_uid()
    send(image_bytes(SeriesInstanceUID=uid))
    second = send(image_bytes(SeriesInstanceUID=uid))
    assert second.reason_code == "conflict_study"
    assert Study.objects.count() == 1


def test_a_known_series_under_another_patient_is_a_conflict() -> None:
    uid = generate_uid()
    send(image_bytes(SeriesInstanceUID=uid))
    second = send(image_bytes(SeriesInstanceUID=uid, PatientID="P-2"))
    assert second.reason_code == "conflict_patient"


def test_an_accession_number_of_another_patient_is_a_conflict() -> None:
    send(image_bytes(AccessionNumber="A-1"))
    second = send(image_bytes(AccessionNumber="A-1", PatientID="P-2"))
    assert second.reason_code == "conflict_accession"


def test_a_picture_with_the_accession_number_of_another_patient_is_a_conflict() -> None:
    send(image_bytes(AccessionNumber="A-1"))
    second = send(png(), patient_id="P-2", accession_number="A-1")
    assert second.reason_code == "conflict_accession"


def test_a_known_accession_number_without_a_patient_is_a_conflict() -> None:
    send(image_bytes(AccessionNumber="A-1"))
    assert send(png(), accession_number="A-1").reason_code == "conflict_accession"
    unidentified = send(image_bytes(AccessionNumber="A-1", PatientID=None))
    assert unidentified.reason_code == "conflict_accession"


def issued_by(issuer: str) -> dict[str, Any]:
    item = Dataset()
    item.LocalNamespaceEntityID = issuer
    return {
        "AccessionNumber": "A-1",
        "IssuerOfAccessionNumberSequence": Sequence([item]),
    }


def test_accession_numbers_are_compared_with_their_issuer() -> None:
    first = send(image_bytes(**issued_by("RIS-1")))
    assert first.study.accession_issuer == "RIS-1"
    other = send(image_bytes(**issued_by("RIS-2"), PatientID="P-2"))
    assert other.outcome == Outcome.STORED
    same = send(image_bytes(**issued_by("RIS-1"), PatientID="P-3"))
    assert same.reason_code == "conflict_accession"


def test_the_patients_issuer_stands_in_for_the_accession_issuer() -> None:
    here = image_bytes(AccessionNumber="A-1", IssuerOfPatientID="X")
    there = image_bytes(AccessionNumber="A-1", IssuerOfPatientID="Y")
    assert send(here).outcome == send(there).outcome == Outcome.STORED


def test_a_shared_accession_number_of_one_patient_is_stored_and_flagged() -> None:
    send(image_bytes(AccessionNumber="A-1"))
    result = send(image_bytes(AccessionNumber="A-1"))
    assert result.outcome == Outcome.STORED
    flags = list(Study.objects.values_list("flags", flat=True))
    assert flags == [[StudyFlag.ACCESSION_SHARED]] * 2


def test_a_later_image_adds_a_missing_accession_number() -> None:
    uid = generate_uid()
    send(image_bytes(StudyInstanceUID=uid))
    send(image_bytes(StudyInstanceUID=uid, AccessionNumber="A-1"))
    assert Study.objects.get().accession_number == "A-1"
    stolen = send(image_bytes(AccessionNumber="A-1", PatientID="P-2"))
    assert stolen.reason_code == "conflict_accession"


def test_a_known_study_cannot_get_the_accession_number_of_another_patient() -> None:
    uid = generate_uid()
    send(image_bytes(AccessionNumber="A-1", PatientID="P-2"))
    send(image_bytes(StudyInstanceUID=uid))
    late = send(image_bytes(StudyInstanceUID=uid, AccessionNumber="A-1"))
    assert late.reason_code == "conflict_accession"


def conflicting(actor: User | None = None, **submitted_identity: Any) -> IngestResult:
    """Store an image, then send another with its SOP Instance UID."""
    uids = {
        "SOPInstanceUID": SOP_UID,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
    }
    send(image_bytes(**uids), actor=actor)
    return send(
        image_bytes(**uids, pixels=grey_pixels(1)), actor=actor, **submitted_identity
    )


def test_conflicting_bytes_are_quarantined_and_stored_ones_unchanged() -> None:
    result = conflicting()
    stored = Instance.objects.get()
    sha256 = result.upload.sha256
    with storage.open_quarantined(sha256) as file:
        assert hashlib.sha256(file.read()).hexdigest() == sha256
    with storage.open_object(stored) as file:
        assert hashlib.sha256(file.read()).hexdigest() == stored.object_sha256
    assert not default_storage.exists(storage.object_key(sha256))


def test_the_upload_keeps_the_outcome_and_the_submitted_identity() -> None:
    user = UserFactory()
    result = conflicting(user, patient_id="P-1", priority="stat")
    upload = Upload.objects.get(outcome=Outcome.CONFLICT)
    assert result.upload == upload
    assert upload.department == user.primary_department
    assert upload.submitted_identity == {"patient_id": "P-1", "priority": "stat"}
    event = AuditEvent.objects.get(object_uuid=upload.pk)
    assert event.outcome == "refused"
    assert [s.patient_uuid for s in event.subjects.all()] == [Patient.objects.get().pk]


def test_the_stored_instance_is_named_to_users_who_may_see_it() -> None:
    insider = UserFactory()
    result = conflicting(insider)
    assert result.instance == Instance.objects.get()
    stranger = UserFactory(primary_department=DepartmentFactory(code="emergency"))
    content = image_bytes(SOPInstanceUID=SOP_UID, BodyPartExamined="HAND")
    untold = send(content, actor=stranger)
    assert untold.reason_code == "conflict_header"
    assert (untold.patient, untold.study, untold.instance) == (None, None, None)


def test_conflicts_are_visible_to_their_sender_and_admins_only() -> None:
    sender = UserFactory()
    upload = conflicting(sender).upload
    colleague = UserFactory()
    admin = UserFactory(role=Role.ADMIN)
    seen = [
        Upload.objects.visible_to(user).filter(pk=upload.pk).exists()
        for user in (sender, colleague, admin)
    ]
    assert seen == [True, False, True]


def test_keeping_the_stored_object_leaves_the_copy_in_quarantine() -> None:
    upload, admin = conflicting().upload, UserFactory(role=Role.ADMIN)
    resolutions.keep_stored(upload, actor=admin)
    upload.refresh_from_db()
    assert (upload.resolution, upload.resolved_by) == (Resolution.KEPT_STORED, admin)
    assert upload.resolved_at is not None
    assert quarantined(upload.sha256)
    event = AuditEvent.objects.get(action="resolve_conflict")
    assert event.detail["resolution"] == "kept_stored"


def test_a_conflict_is_decided_once() -> None:
    upload, admin = conflicting().upload, UserFactory(role=Role.ADMIN)
    resolutions.keep_stored(upload, actor=admin)
    for decide in (
        resolutions.keep_stored,
        resolutions.discard,
        resolutions.send_again,
    ):
        with pytest.raises(Conflict):
            decide(upload, actor=admin)
    assert AuditEvent.objects.filter(action="resolve_conflict").count() == 1


def test_discarding_deletes_the_copy(
    django_capture_on_commit_callbacks: Any,
) -> None:
    upload = conflicting().upload
    with django_capture_on_commit_callbacks(execute=True):
        resolutions.discard(upload, actor=UserFactory(role=Role.ADMIN))
    assert upload.resolution == Resolution.DISCARDED
    assert not quarantined(upload.sha256)
    with storage.open_object(Instance.objects.get()) as stored:
        assert stored.read(1)


def test_a_copy_of_another_open_conflict_is_not_deleted(
    django_capture_on_commit_callbacks: Any,
) -> None:
    uids = {"SOPInstanceUID": SOP_UID, "StudyInstanceUID": generate_uid()}
    send(image_bytes(**uids))
    content = image_bytes(**uids, BodyPartExamined="HAND")
    first, second = send(content).upload, send(content).upload
    assert first.sha256 == second.sha256
    with django_capture_on_commit_callbacks(execute=True):
        resolutions.discard(first, actor=UserFactory(role=Role.ADMIN))
    assert quarantined(second.sha256)


def test_retrying_a_conflict_after_a_correction_stores_the_copy(
    django_capture_on_commit_callbacks: Any,
) -> None:
    uid = generate_uid()
    first = send(image_bytes(StudyInstanceUID=uid, PatientID=None))
    sender = UserFactory(
        primary_department=DepartmentFactory(code="emergency"),
        departments=[first.study.department],
    )
    content = image_bytes(StudyInstanceUID=uid, PatientID=None)
    upload = send(content, actor=sender, patient_id="P-9").upload
    assert upload.reason_code == "conflict_patient"
    admin = UserFactory(role=Role.ADMIN)

    with pytest.raises(Conflict):
        resolutions.send_again(upload, actor=admin)
    assert Upload.objects.filter(outcome=Outcome.CONFLICT).count() == 1
    upload.refresh_from_db()
    assert upload.resolution == ""

    Patient.objects.filter(pk=first.patient.pk).update(patient_id="P-9")
    with django_capture_on_commit_callbacks(execute=True):
        result = resolutions.send_again(upload, actor=admin)
    assert result.outcome == Outcome.STORED
    assert result.study == first.study
    upload.refresh_from_db()
    assert (upload.resolution, upload.resolved_by) == (Resolution.INGESTED, admin)
    assert not quarantined(upload.sha256)


def test_a_retried_copy_keeps_the_department_of_its_sender() -> None:
    sender = UserFactory(primary_department=DepartmentFactory(code="emergency"))
    first = send(image_bytes(AccessionNumber="A-1"))
    upload = send(
        image_bytes(AccessionNumber="A-1", PatientID="P-2"), actor=sender
    ).upload
    Study.objects.filter(pk=first.study.pk).update(accession_number="A-2")
    result = resolutions.send_again(upload, actor=UserFactory(role=Role.ADMIN))
    assert result.study.department.code == "emergency"


def test_a_conflict_without_its_bytes_cannot_be_retried() -> None:
    upload = conflicting().upload
    default_storage.delete(f"quarantine/{upload.sha256}")
    with pytest.raises(NotFound):
        resolutions.send_again(upload, actor=UserFactory(role=Role.ADMIN))


def test_reconciling_a_flag_removes_it_and_is_audited() -> None:
    send(image_bytes())
    study = send(image_bytes(PatientName="Roe^John")).study
    admin, flag = UserFactory(role=Role.ADMIN), StudyFlag.DEMOGRAPHICS_MISMATCH

    def reconcile() -> bool:
        return resolutions.reconcile(
            study,
            flag,
            choice=FlagReconciliation.Choice.RECORD_IS_RIGHT,
            reason="typing error at the modality",
            actor=admin,
        )

    assert reconcile()
    assert Study.objects.get(pk=study.pk).flags == []
    assert not reconcile()
    event = AuditEvent.objects.get(action="change")
    assert event.detail == {
        "reconciled": "demographics_mismatch",
        "choice": "record_is_right",
    }
