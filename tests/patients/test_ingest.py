"""One file is one transaction: stored completely or not at all."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import DatabaseError, OperationalError, connection
from django.urls import reverse
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from accounts import audit
from accounts.errors import AuditUnavailable, InvalidInput, TooLarge, Unavailable
from accounts.models import AuditEvent, AuditSubject, Department, Role
from patients import decode, ingest, storage
from patients.ingest import ingest_instance, record_refusal
from patients.models import Instance, Patient, Priority, Series, Study, Upload
from patients.signals import instance_stored
from tests.clients import program
from tests.dicom_factory import encoded, grey_pixels, image, image_bytes, png, written
from tests.factories import DepartmentFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db

Outcome = Upload.Outcome
IDENTIFIERS = ("PatientID", "IssuerOfPatientID", "AccessionNumber")
PIXEL_MODULE = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelData",
)


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    """Collect the arguments of each signal, in order."""
    signals: list[dict[str, Any]] = []

    def listen(sender: object, **arguments: Any) -> None:
        signals.append({**arguments, "in_transaction": connection.in_atomic_block})

    instance_stored.connect(listen, dispatch_uid="tests.heard")
    yield signals
    instance_stored.disconnect(dispatch_uid="tests.heard")


def counts() -> tuple[int, ...]:
    return tuple(
        model.objects.count() for model in (Patient, Study, Series, Instance, Upload)
    )


def test_an_image_is_stored_with_the_values_of_its_header() -> None:
    user = UserFactory(role=Role.TECHNOLOGIST)
    dataset = image(
        AccessionNumber="A-7",
        IssuerOfPatientID="CLINIC",
        TimezoneOffsetFromUTC="+0200",
        StudyDescription="Chest PA",
        ReferringPhysicianName="Weiss^Eva",
        ImagerPixelSpacing=[0.15, 0.16],
    )
    result = send(written(dataset), actor=user, priority="urgent")
    assert (result.outcome, result.reason_code) == (Outcome.STORED, "")
    patient, study, instance = result.patient, result.study, result.instance
    assert (patient.patient_id, patient.issuer) == ("P-1", "CLINIC")
    assert (patient.family_name, patient.given_name) == ("Doe", "John")
    assert patient.name_folded == "doe john"
    assert str(patient.birth_date) == "1970-01-31"
    assert (study.accession_number, study.accession_issuer) == ("A-7", "CLINIC")
    assert (str(study.study_date), str(study.study_time)) == ("2024-02-29", "10:15:00")
    assert study.timezone_offset == "+0200"
    assert study.description == "Chest PA"
    assert study.referring_physician
    assert study.priority == Priority.URGENT
    assert study.department == user.primary_department
    assert (study.received_patient_id, study.received_issuer) == ("P-1", "CLINIC")
    assert instance.series.modality == "DX"
    assert (instance.rows, instance.columns, instance.frames) == (64, 48, 1)
    assert instance.pixel_spacing_kind == "imager"
    assert (instance.pixel_spacing_row_mm, instance.pixel_spacing_column_mm) == (
        0.15,
        0.16,
    )
    assert instance.header["00100010"]["Value"][0]["Alphabetic"] == "Doe^John"
    assert instance.colour is False
    with storage.open_object(instance) as stored:
        assert stored.read() == written(dataset)


def test_storing_an_image_writes_an_upload_and_an_audit_event() -> None:
    user = UserFactory()
    result = send(image_bytes(), actor=user, name="C:\\images\\a.dcm")
    upload = Upload.objects.get()
    assert upload == result.upload
    assert upload.instance == result.instance
    assert upload.original_name == "a.dcm"
    assert upload.user == user
    assert upload.sha256 == result.instance.object_sha256
    assert upload.department == result.study.department
    event = AuditEvent.objects.get(action="upload")
    assert (event.actor_uuid, event.object_uuid) == (user.pk, result.instance.pk)
    assert (event.source, event.outcome) == ("rest", "success")
    assert [s.patient_uuid for s in event.subjects.all()] == [result.patient.pk]


def test_the_signal_is_sent_inside_the_transaction_also_for_duplicates(
    heard: list[dict[str, Any]],
) -> None:
    user, content = UserFactory(), image_bytes()
    first = send(content, actor=user)
    send(content, actor=user)
    assert [signal["created"] for signal in heard] == [True, False]
    assert all(signal["in_transaction"] for signal in heard)
    assert all(signal["instance"] == first.instance for signal in heard)
    assert all(signal["actor"] == user for signal in heard)


def test_an_error_of_a_receiver_leaves_only_the_refusal() -> None:
    def refuse(sender: object, **_: Any) -> None:
        raise InvalidInput("There is no such model.", reason_code="unknown_model")

    instance_stored.connect(refuse, dispatch_uid="tests.refuse")
    try:
        result = send(image_bytes())
    finally:
        instance_stored.disconnect(dispatch_uid="tests.refuse")
    assert (result.outcome, result.reason_code) == (Outcome.REFUSED, "unknown_model")
    assert counts() == (0, 0, 0, 0, 1)


def test_an_image_that_cannot_be_audited_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: Any) -> None:
        raise AuditUnavailable("The audit trail cannot be written.")

    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(AuditUnavailable):
        send(image_bytes())
    assert counts() == (0, 0, 0, 0, 0)


def test_one_image_from_four_sources_is_one_instance_with_four_uploads() -> None:
    dataset = image()
    ways = [
        (written(dataset), Upload.Source.WEB),
        (written(dataset), Upload.Source.REST),
        (written(dataset), Upload.Source.FOLDER),
        (encoded(dataset, JPEG2000Lossless), Upload.Source.REST),
    ]
    results = [send(content, source=source) for content, source in ways]
    assert [result.outcome for result in results] == ["stored", *["duplicate"] * 3]
    instance = Instance.objects.get()
    assert {result.instance for result in results} == {instance}
    assert instance.uploads.count() == 4
    assert instance.object_sha256 == results[0].upload.sha256


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_lossless_forms_in_either_order_are_one_image(syntax: Any) -> None:
    dataset = image()
    assert send(encoded(dataset, syntax)).outcome == Outcome.STORED
    again = send(written(dataset))
    assert (again.outcome, again.reason_code) == (Outcome.DUPLICATE, "")


def test_identical_bytes_are_recognised_without_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = image_bytes()
    send(content)

    def never(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(decode, "pixel_facts", never)
    assert send(content).outcome == Outcome.DUPLICATE


def test_images_of_one_study_share_patient_study_and_series() -> None:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    for number in range(3):
        send(image_bytes(**uids, InstanceNumber=number, pixels=grey_pixels(number)))
    assert counts() == (1, 1, 1, 3, 3)


def test_a_study_without_an_actor_goes_to_the_default_department(settings: Any) -> None:
    settings.DEFAULT_DEPARTMENT = "night-shift"
    result = send(image_bytes())
    assert result.study.department.code == "night-shift"
    assert Department.objects.get(code="night-shift").name == "Night shift"


def test_an_image_of_a_known_study_stays_in_its_department() -> None:
    uid = generate_uid()
    first = send(image_bytes(StudyInstanceUID=uid), actor=UserFactory())
    colleague = UserFactory(
        primary_department=DepartmentFactory(code="emergency"),
        departments=[first.study.department],
    )
    second = send(image_bytes(StudyInstanceUID=uid), actor=colleague)
    assert second.study.department == first.study.department
    assert second.upload.department == first.study.department


def test_the_priority_of_a_study_is_never_lowered() -> None:
    uid = generate_uid()
    for sent, expected in [
        ("", Priority.ROUTINE),
        ("stat", Priority.STAT),
        ("routine", Priority.STAT),
    ]:
        result = send(image_bytes(StudyInstanceUID=uid), priority=sent)
        assert result.study.priority == expected
    assert Study.objects.get().priority == Priority.STAT


def test_a_duplicate_raises_the_priority_too() -> None:
    content = image_bytes()
    send(content)
    send(content, priority="stat")
    assert Study.objects.get().priority == Priority.STAT


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"hello", "not_an_image"),
        (image_bytes()[:900], "truncated_file"),
        (png()[:-20], "truncated_file"),
        (image_bytes(SOPInstanceUID=None), "missing_uids"),
        (image_bytes(StudyInstanceUID=None), "missing_uids"),
    ],
)
def test_a_refused_file_leaves_an_upload_with_the_reason(
    content: bytes, code: str
) -> None:
    user = UserFactory()
    result = send(content, actor=user, name="bad")
    assert (result.outcome, result.reason_code) == (Outcome.REFUSED, code)
    assert result.reason.endswith(".")
    assert (result.patient, result.study, result.instance) == (None, None, None)
    upload = Upload.objects.get()
    assert (upload.outcome, upload.reason_code) == (Outcome.REFUSED, code)
    assert upload.department == user.primary_department
    event = AuditEvent.objects.get(action="upload")
    assert (event.object_kind, event.object_uuid) == ("upload", upload.pk)
    assert event.outcome == "refused"
    assert counts() == (0, 0, 0, 0, 1)


def test_a_file_over_the_limit_is_refused_unread(settings: Any) -> None:
    settings.MAX_FILE_BYTES = 1000
    result = send(image_bytes())
    assert (result.outcome, result.reason_code) == (Outcome.REFUSED, "file_too_large")
    assert result.upload.size_bytes > 1000
    assert result.upload.sha256 == ""


def test_the_size_and_hash_of_the_upload_handler_are_used() -> None:
    file = BytesIO(b"")
    file.sha256, file.received_bytes, file.too_large = "a" * 64, 10**10, True
    result = ingest_instance(file, name="big.dcm", source=Upload.Source.WEB, actor=None)
    assert result.reason_code == "file_too_large"
    assert (result.upload.size_bytes, result.upload.sha256) == (10**10, "a" * 64)


def test_a_request_refused_unread_leaves_a_nameless_upload() -> None:
    user = UserFactory()
    error = TooLarge("Too much.", reason_code="request_too_large")
    result = record_refusal(error, name="", source=Upload.Source.REST, actor=user)
    assert result.upload.original_name == ""
    assert result.upload.reason_code == "request_too_large"
    assert AuditEvent.objects.get().outcome == "refused"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "x" * 400 + ".png", "a\x00b.png", "\udcff.png", ""]
)
def test_hostile_file_names_are_kept_as_text(name: str) -> None:
    result = send(b"no", name=name)
    kept = Upload.objects.get().original_name
    assert result.name == name.replace("\x00", "�").replace("\udcff", "�")
    assert len(kept) <= 255
    assert not {"/", "\\", "\x00"} & set(kept)


@pytest.mark.filterwarnings("ignore:The (PN|value):UserWarning")
def test_values_longer_than_their_columns_are_truncated() -> None:
    long = {
        "StudyDescription": "d" * 900,
        "SeriesDescription": "s" * 900,
        "BodyPartExamined": "B" * 90,
        "ViewPosition": "V" * 90,
        "ReferringPhysicianName": "R" * 60 + "^" + "r" * 900,
        "PatientName": "^".join(["N" * 400] * 5),
        "SeriesNumber": 10**11,
        "InstanceNumber": -(10**10),
    }
    dataset = image()
    for keyword, value in long.items():
        setattr(dataset, keyword, value)
    assert send(written(dataset)).outcome == Outcome.STORED


@pytest.mark.parametrize("keyword", IDENTIFIERS)
def test_an_identifier_longer_than_its_column_is_refused(keyword: str) -> None:
    dataset = image()
    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        setattr(dataset, keyword, "9" * 65)
    result = send(written(dataset))
    assert (result.outcome, result.reason_code) == (Outcome.REFUSED, "invalid_header")


def test_markup_in_a_name_is_kept_as_text() -> None:
    result = send(image_bytes(PatientName="<script>alert(1)</script>^X"))
    assert result.patient.family_name == "<script>alert(1)</script>"


def test_an_object_of_a_class_without_pixels_is_stored() -> None:
    dataset = image(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22",
        Modality="SR",
    )
    for keyword in PIXEL_MODULE:
        delattr(dataset, keyword)
    result = send(written(dataset))
    assert result.outcome == Outcome.STORED
    assert (result.instance.rows, result.instance.pixel_sha256) == (None, None)


def test_a_busy_decoder_is_a_temporary_fault_and_stores_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy(*_: Any) -> None:
        raise Unavailable("The decoder is busy.", reason_code="decoder_busy")

    monkeypatch.setattr(decode, "pixel_facts", busy)
    with pytest.raises(Unavailable):
        send(image_bytes())
    assert counts() == (0, 0, 0, 0, 0)


def test_unreadable_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any) -> None:
        raise InvalidInput("It cannot be decoded.", reason_code="unreadable_pixels")

    monkeypatch.setattr(decode, "pixel_facts", unreadable)
    assert send(image_bytes()).reason_code == "unreadable_pixels"
    assert counts() == (0, 0, 0, 0, 1)


def test_pixels_without_a_decoder_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unsupported(*_: Any) -> None:
        raise InvalidInput("No decoder.", reason_code="unsupported_transfer_syntax")

    monkeypatch.setattr(decode, "pixel_facts", unsupported)
    result = send(image_bytes())
    assert result.outcome == Outcome.STORED
    assert result.instance.pixel_sha256 is None


def test_the_object_has_its_final_name_before_the_commit(
    heard: list[dict[str, Any]],
) -> None:
    seen: list[bool] = []

    def look(sender: object, instance: Instance, **_: Any) -> None:
        seen.append(default_storage.exists(storage.object_key(instance.object_sha256)))

    instance_stored.connect(look, dispatch_uid="tests.look")
    try:
        send(image_bytes())
    finally:
        instance_stored.disconnect(dispatch_uid="tests.look")
    assert seen == [True]


def test_repeated_conflicts_in_the_database_are_a_temporary_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def lose(*_: Any) -> None:
        tries.append(1)
        cause = Exception()
        cause.sqlstate = "40P01"
        raise DatabaseError from cause

    monkeypatch.setattr(ingest, "_store", lose)
    with pytest.raises(Unavailable) as raised:
        send(image_bytes())
    assert raised.value.reason_code == "busy"
    assert len(tries) == ingest.LONGEST_RACE


def test_an_error_of_a_lost_database_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(ingest, "_store", fail)
    with pytest.raises(OperationalError, match="disk"):
        send(image_bytes())


def test_another_database_error_is_the_refusal_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise DatabaseError("a value that nobody foresaw")

    monkeypatch.setattr(ingest, "_store", fail)
    assert send(image_bytes()).reason_code == "internal_error"


def test_the_audit_event_of_an_upload_lists_patients_without_names() -> None:
    result = send(image_bytes())
    assert AuditSubject.objects.get().patient_uuid == result.patient.pk
    assert "Doe" not in str(AuditEvent.objects.get().detail)


def picture_of(kind: str) -> bytes:
    content = BytesIO()
    picture = Image.fromarray((grey_pixels(3) >> 4).astype("uint8"))
    picture.save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_picture_that_is_encoded_anew_is_kept_as_sent(kind: str) -> None:
    content = picture_of(kind)
    instance = send(content, patient_id="P-1").instance
    assert instance.original_sha256 == sha256(content).hexdigest()
    with storage.open_original(instance) as original:
        assert original.read() == content


def test_a_jpeg_that_is_stored_unchanged_is_not_kept_twice() -> None:
    assert send(picture_of("JPEG"), patient_id="P-1").instance.original_sha256 == ""


def test_the_original_of_a_stored_picture_is_not_swept() -> None:
    instance = send(picture_of("PNG"), patient_id="P-1").instance
    storage.sweep_orphans(older_than=timedelta(0))
    with storage.open_original(instance) as original:
        assert original.read()


def test_the_original_is_given_to_those_who_may_see_the_image() -> None:
    content = picture_of("PNG")
    instance = send(content, patient_id="P-1").instance
    url = reverse("instance-original", args=[instance.pk])
    admin = program(user=UserFactory(role=Role.ADMIN))
    assert b"".join(admin.get(url).streaming_content) == content
    assert AuditEvent.objects.get(action="export").object_uuid == instance.pk
    elsewhere = UserFactory(
        role=Role.CLINICIAN, primary_department=DepartmentFactory(code="elsewhere")
    )
    assert program(user=elsewhere).get(url).status_code == 404


def test_an_object_sent_as_dicom_has_no_other_original() -> None:
    instance = send(image_bytes()).instance
    url = reverse("instance-original", args=[instance.pk])
    admin = program(user=UserFactory(role=Role.ADMIN))
    assert admin.get(url).status_code == 404
