"""Concurrent uploads of the same image: one is stored, one is a duplicate."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import OperationalError, connections
from pydicom.uid import generate_uid

from accounts.errors import InvalidInput
from accounts.models import Role
from patients.identity.assignments import assign_study, undo_assignment
from patients.ingest import IngestResult
from patients.models import (
    Instance,
    Patient,
    PatientAssignment,
    Series,
    Study,
    StudyFlag,
    Upload,
)
from patients.signals import instance_stored
from tests.dicom_factory import grey_pixels, image_bytes
from tests.factories import UserFactory
from tests.patients.sending import send

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

THREADS = 6


def at_once(sendings: list[Callable[[], IngestResult]]) -> list[IngestResult]:
    """Run all at the same moment, each in a thread with a connection of its own."""
    barrier = threading.Barrier(len(sendings))

    def run(sending: Callable[[], IngestResult]) -> IngestResult:
        barrier.wait()
        try:
            return sending()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(sendings)) as pool:
        return list(pool.map(run, sendings))


def test_concurrent_uploads_of_one_image_are_one_instance_and_duplicates() -> None:
    content = image_bytes()
    results = at_once([lambda: send(content)] * THREADS)
    outcomes = Counter(str(result.outcome) for result in results)
    assert outcomes == {"stored": 1, "duplicate": THREADS - 1}
    assert Instance.objects.count() == Study.objects.count() == 1
    assert Patient.objects.count() == Series.objects.count() == 1
    assert Upload.objects.filter(instance=Instance.objects.get()).count() == THREADS


def test_concurrent_images_of_a_new_study_share_patient_study_and_series() -> None:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    contents = [image_bytes(**uids, pixels=grey_pixels(n)) for n in range(THREADS)]
    results = at_once([partial(send, content) for content in contents])
    assert {str(result.outcome) for result in results} == {"stored"}
    assert Instance.objects.count() == THREADS
    assert Patient.objects.count() == Study.objects.count() == 1
    assert Series.objects.count() == 1


def test_concurrent_studies_of_a_new_patient_share_the_patient() -> None:
    contents = [image_bytes() for _ in range(THREADS)]
    results = at_once([partial(send, content) for content in contents])
    assert {str(result.outcome) for result in results} == {"stored"}
    assert Patient.objects.count() == 1
    assert Study.objects.count() == THREADS


def test_concurrent_patients_with_one_accession_number_conflict() -> None:
    contents = [
        image_bytes(AccessionNumber="A-1", PatientID=f"P-{n}") for n in range(THREADS)
    ]
    results = at_once([partial(send, content) for content in contents])
    codes = Counter(result.reason_code for result in results)
    assert codes == {"": 1, "conflict_accession": THREADS - 1}


def test_concurrent_copies_under_many_patients_are_stored_and_flagged() -> None:
    contents = [image_bytes(PatientID=f"P-{n}") for n in range(THREADS)]
    results = at_once([partial(send, content) for content in contents])
    assert {str(result.outcome) for result in results} == {"stored"}
    flagged = Study.objects.filter(flags=[StudyFlag.SAME_PIXELS_OTHER_PATIENT])
    assert flagged.count() == THREADS


def test_a_failing_receiver_rolls_back_every_row_and_the_file_is_refused() -> None:
    def fail(sender: object, **_: object) -> None:
        raise RuntimeError("a receiver broke")

    instance_stored.connect(fail, dispatch_uid="tests.fail")
    try:
        result = send(image_bytes())
    finally:
        instance_stored.disconnect(dispatch_uid="tests.fail")
    left = [m.objects.count() for m in (Patient, Study, Series, Instance)]
    assert left == [0] * 4
    assert result.reason_code == "internal_error"
    assert Upload.objects.get().outcome == Upload.Outcome.REFUSED


def test_a_lost_database_is_no_refusal_of_the_file() -> None:
    def fail(sender: object, **_: object) -> None:
        raise OperationalError("the connection is closed")

    instance_stored.connect(fail, dispatch_uid="tests.fail")
    try:
        with pytest.raises(OperationalError):
            send(image_bytes())
    finally:
        instance_stored.disconnect(dispatch_uid="tests.fail")
    assert not Upload.objects.exists()


def test_a_refusal_is_written_after_the_rollback() -> None:
    def refuse(sender: object, **_: object) -> None:
        raise InvalidInput("There is no such model.", reason_code="unknown_model")

    instance_stored.connect(refuse, dispatch_uid="tests.refuse")
    try:
        result = send(image_bytes())
    finally:
        instance_stored.disconnect(dispatch_uid="tests.refuse")
    assert result.reason_code == "unknown_model"
    assert [m.objects.count() for m in (Patient, Study, Series, Instance)] == [0] * 4
    assert Upload.objects.get().outcome == Upload.Outcome.REFUSED


def test_an_assignment_while_images_arrive_loses_and_refuses_nothing() -> None:
    """Images of the study, and of its accession number, arrive meanwhile."""
    uid, admin = generate_uid(), UserFactory(role=Role.ADMIN)
    same = {"PatientID": "WRONG", "AccessionNumber": "A-1"}
    study = send(image_bytes(StudyInstanceUID=uid, **same)).study

    def assign() -> IngestResult:
        assign_study(study, patient_id="RIGHT", reason="called", actor=admin)
        return send(image_bytes(StudyInstanceUID=uid, pixels=grey_pixels(90), **same))

    arriving = [
        image_bytes(StudyInstanceUID=uid, pixels=grey_pixels(n), **same)
        for n in range(3)
    ] + [image_bytes(pixels=grey_pixels(50 + n), **same) for n in range(3)]
    results = at_once([assign, *(partial(send, content) for content in arriving)])

    assert Counter(result.reason_code for result in results) == {"": len(results)}
    assert Study.objects.get(pk=study.pk).patient.patient_id == "RIGHT"


def test_two_assignments_at_once_leave_the_study_with_the_later_patient() -> None:
    admin = UserFactory(role=Role.ADMIN)
    study = send(image_bytes(PatientID=None)).study

    def assign(number: int) -> IngestResult:
        assign_study(study, patient_id=f"P-{number}", reason="called", actor=admin)
        return send(image_bytes(pixels=grey_pixels(number)))

    at_once([partial(assign, number) for number in range(10, 14)])

    newest = PatientAssignment.objects.first()
    assert PatientAssignment.objects.count() == 4
    assert Study.objects.get(pk=study.pk).patient_id == newest.to_patient_id


def test_an_undo_while_an_image_arrives_takes_the_image_with_it() -> None:
    uid, admin = generate_uid(), UserFactory(role=Role.ADMIN)
    study = send(image_bytes(StudyInstanceUID=uid, PatientID=None)).study
    former = study.patient_id
    move = assign_study(study, patient_id="P-9", reason="called", actor=admin)

    def undo() -> IngestResult:
        undo_assignment(move, actor=admin)
        return send(image_bytes(pixels=grey_pixels(60)))

    content = image_bytes(StudyInstanceUID=uid, PatientID=None, pixels=grey_pixels(61))
    results = at_once([undo, partial(send, content)])

    assert Counter(str(result.outcome) for result in results) == {"stored": 2}
    assert Study.objects.get(pk=study.pk).patient_id == former
