"""What images state differently from the record: kept, flagged, rechecked."""

from datetime import date

import pytest

from accounts.models import Role
from patients import resolutions
from patients.identity.discrepancies import recheck
from patients.models import (
    FlagReconciliation,
    IdentityDiscrepancy,
    Patient,
    Study,
    StudyFlag,
)
from tests.dicom_factory import grey_pixels, image_bytes
from tests.factories import PatientFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
MISMATCH = StudyFlag.DEMOGRAPHICS_MISMATCH
SAME_PIXELS = StudyFlag.SAME_PIXELS_OTHER_PATIENT


def values(study: Study) -> list[tuple[str, str, str]]:
    return [
        (one.attribute, one.received, one.recorded) for one in study.discrepancies.all()
    ]


def sent_after_the_first(**attributes: str) -> Study:
    """Return the study of a second image of the patient, as the database has it."""
    send(image_bytes())
    study = send(image_bytes(pixels=grey_pixels(1), **attributes)).study
    return Study.objects.get(pk=study.pk)


def reconcile(study: Study, flag: StudyFlag) -> None:
    resolutions.reconcile(
        study,
        flag,
        choice=FlagReconciliation.Choice.SAME_PERSON,
        reason="seen the passport",
        actor=UserFactory(role=Role.ADMIN),
    )


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PatientName": "John^Doe"}, ("patient_name", "John^Doe", "Doe^John")),
        ({"PatientName": "Roe^John"}, ("patient_name", "Roe^John", "Doe^John")),
        ({"PatientBirthDate": "19700201"}, ("birth_date", "1970-02-01", "1970-01-31")),
        ({"PatientSex": "F"}, ("sex", "F", "M")),
    ],
)
def test_another_value_is_kept_beside_that_of_the_record_and_flagged(
    attributes: dict[str, str], expected: tuple[str, str, str]
) -> None:
    study = sent_after_the_first(**attributes)
    assert values(study) == [expected]
    assert study.flags == [MISMATCH]


def test_another_ideographic_name_is_a_discrepancy() -> None:
    charset = {"SpecificCharacterSet": "ISO_IR 192"}
    send(image_bytes(PatientName="Yamada^Tarou=山田^太郎", **charset))
    study = send(
        image_bytes(
            PatientName="Yamada^Tarou=山田^花子", pixels=grey_pixels(1), **charset
        )
    ).study
    assert [one[0] for one in values(study)] == ["patient_name"]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PatientName": "DOE^JOHN"},
        {"PatientName": None},
        {"PatientBirthDate": None},
        {"PatientSex": None},
        {"PatientSex": "U"},
    ],
)
def test_the_same_or_a_missing_value_is_no_discrepancy(
    attributes: dict[str, str],
) -> None:
    study = sent_after_the_first(**attributes)
    assert values(study) == []
    assert study.flags == []


def test_a_recheck_ends_what_agrees_with_a_corrected_record() -> None:
    study = sent_after_the_first(PatientSex="F")
    Patient.objects.filter(pk=study.patient_id).update(sex="F")
    study = Study.objects.get(pk=study.pk)
    recheck(study)
    assert values(study) == []
    assert Study.objects.get(pk=study.pk).flags == []


def test_a_recheck_finds_what_disagrees_with_a_corrected_record() -> None:
    study = send(image_bytes()).study
    Patient.objects.filter(pk=study.patient_id).update(birth_date=date(1980, 1, 1))
    study = Study.objects.get(pk=study.pk)
    recheck(study)
    assert values(study) == [("birth_date", "1970-01-31", "1980-01-01")]
    assert Study.objects.get(pk=study.pk).flags == [MISMATCH]


def test_a_recheck_compares_what_the_form_stated() -> None:
    study = send(
        image_bytes(PatientID=None, PatientName=None, PatientSex=None),
        patient_id="P-1",
        sex="F",
    ).study
    Patient.objects.filter(pk=study.patient_id).update(sex="M")
    study = Study.objects.get(pk=study.pk)
    recheck(study)
    assert ("sex", "F", "M") in values(study)


def test_a_reconciled_value_does_not_return() -> None:
    study = sent_after_the_first(PatientSex="F")
    reconcile(study, MISMATCH)
    again = send(
        image_bytes(
            PatientSex="F",
            StudyInstanceUID=study.study_instance_uid,
            pixels=grey_pixels(2),
        )
    )
    recheck(study)
    assert again.study == study
    assert Study.objects.get(pk=study.pk).flags == []


def test_another_value_after_a_reconciliation_is_flagged_again() -> None:
    study = sent_after_the_first(PatientSex="F")
    reconcile(study, MISMATCH)
    send(
        image_bytes(
            PatientSex="O",
            StudyInstanceUID=study.study_instance_uid,
            pixels=grey_pixels(2),
        )
    )
    assert values(study) == [("sex", "O", "M")]
    assert Study.objects.get(pk=study.pk).flags == [MISMATCH]


def test_a_reconciliation_keeps_values_reason_and_person() -> None:
    study = sent_after_the_first(PatientSex="F")
    reconcile(study, MISMATCH)
    kept = FlagReconciliation.objects.get()
    assert kept.values == [["sex", "F", "M"]]
    assert kept.reason == "seen the passport"
    assert kept.reconciled_by.role == Role.ADMIN
    assert not IdentityDiscrepancy.objects.exists()


def test_a_recheck_removes_the_flag_of_pixels_that_no_other_patient_has() -> None:
    first = send(image_bytes(PatientID="P-1")).study
    second = send(image_bytes(PatientID="P-2")).study
    assert second.flags == [SAME_PIXELS]
    Study.objects.filter(pk=second.pk).update(patient=first.patient)
    moved = Study.objects.get(pk=second.pk)
    recheck(moved)
    assert Study.objects.get(pk=first.pk).flags == []
    assert Study.objects.get(pk=second.pk).flags == []


def test_a_recheck_flags_pixels_that_another_patient_has() -> None:
    first = send(image_bytes(PatientID="P-1")).study
    second = send(image_bytes(PatientID="P-1")).study
    assert second.flags == []
    Study.objects.filter(pk=second.pk).update(patient=PatientFactory())
    recheck(Study.objects.get(pk=second.pk))
    assert SAME_PIXELS in Study.objects.get(pk=first.pk).flags
    assert SAME_PIXELS in Study.objects.get(pk=second.pk).flags
