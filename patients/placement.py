"""Find or create the patient, study and series of an image.

Everything here runs inside the transaction of the image.
"""

import hashlib
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet

from accounts.access import writable
from accounts.models import Department, User
from patients import messages
from patients.conflicts.quarantine import Conflicting
from patients.dicom.header import Header
from patients.identity import discrepancies, names
from patients.identity.flags import flag
from patients.identity.submitted import Identity
from patients.models import Instance, Patient, Priority, Series, Study, StudyFlag

# First keys of the advisory locks under which images of one accession number are
# placed, and images with the same pixels are compared.
_ACCESSION_LOCK = 0xACCE55
_PIXELS_LOCK = 0x91CE15
SMALLEST_INTEGER, GREATEST_INTEGER = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class Placing:
    """An image to place, with what decides its place.

    Attributes:
        identity: From header and form together.
        picture: Has no study of its own and joins the study of its accession number.
        priority: None if not submitted.
        department: Of a new study.
        actor: The sender; None for a program of ChestX.
    """

    header: Header
    identity: Identity
    picture: bool
    priority: Priority | None
    department: Department
    actor: User | None = None


def department_of(actor: User | None) -> Department:
    """Return the department of new studies: the actor's primary, else the default."""
    if actor is not None and actor.primary_department is not None:
        return actor.primary_department
    code = settings.DEFAULT_DEPARTMENT
    department, _ = Department.objects.get_or_create(
        code=code,
        defaults={"name": code.replace("-", " ").replace("_", " ").capitalize()},
    )
    return department


def place(image: Placing) -> Series:
    """Find or create the series of an image, with its study and patient.

    Raises:
        Conflicting: conflict_patient, conflict_study or conflict_accession; also if
            the sender may not see the study.
        IntegrityError: Another image created the same patient, study or series.
    """
    _lock_accession(image.identity)
    study = _known_study(image)
    if study is None:
        _refuse_accession_of_another(image.identity, patient=None)
        study = _new_study(image)
    else:
        _refuse_other_department(study, image)
        _refuse_other_patient(study, image.identity)
        _set_accession(study, image.identity)
        raise_priority(study, image.priority)
        _fill_patient(study.patient, image.identity)
    discrepancies.record(study, image.identity)
    if not image.header.name_is_certain:
        flag([study], StudyFlag.CHARACTER_SET_UNCERTAIN)
    return _series(image, study)


def belongs_to(study: Study, identity: Identity) -> bool:
    """Return whether the study belongs to this patient.

    A study keeps the identity that it was received with, also after an assignment. A
    claimed identifier belongs only to studies that were received with it.
    """
    if identity.claimed:
        return identity.claimed == (study.received_patient_id, study.received_issuer)
    return identity.key in (
        (study.patient.patient_id, study.patient.issuer),
        (study.received_patient_id, study.received_issuer),
    )


def lock_study(study: Study) -> bool:
    """Lock a study against erasure; return False if it is already erased."""
    return Study.objects.select_for_update(no_key=True).filter(pk=study.pk).exists()


def is_writable(study: Study, actor: User | None, *, department: Department) -> bool:
    """Return whether files of the sender may be added to the study, or change it.

    Args:
        study: The study.
        actor: The sender; None for a program of ChestX.
        department: Of the sender's new studies.
    """
    rows = Study.objects.filter(pk=study.pk)
    return writable(rows, actor, department=department).exists()


def raise_priority(study: Study, priority: Priority | None) -> None:
    """Raise the priority of a study; a later image never lowers it."""
    if priority is not None and priority > study.priority:
        Study.objects.filter(pk=study.pk, priority__lt=priority).update(
            priority=priority
        )
        study.priority = priority


def flag_same_pixels(instance: Instance, patient: Patient) -> None:
    """Flag the studies of different patients that have the same pixels.

    The lock lets the later of two images that arrive together see the earlier one.
    """
    if not instance.pixel_sha256:
        return
    _lock(_PIXELS_LOCK, instance.pixel_sha256)
    others = Study.objects.filter(
        series__instances__pixel_sha256=instance.pixel_sha256
    ).exclude(patient=patient)
    studies = list(others.distinct().order_by("pk"))
    if studies:
        flag([instance.series.study, *studies], StudyFlag.SAME_PIXELS_OTHER_PATIENT)


def _lock_accession(identity: Identity) -> None:
    """Lock an accession number: a unique index cannot serialise its images."""
    if not identity.accession_number:
        return
    key = f"{identity.accession_issuer}\x1f{identity.accession_number}"
    _lock(_ACCESSION_LOCK, key)


def _lock(kind: int, key: str) -> None:
    """Take an advisory lock until the end of the transaction."""
    digest = hashlib.sha256(key.encode()).digest()
    number = int.from_bytes(digest[:4], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [kind, number])


def _studies() -> QuerySet[Study]:
    """Return studies, locked against assignments, without joining their patients.

    PostgreSQL drops a joined row whose key has changed while it waited for the lock.
    """
    return Study.objects.select_for_update(no_key=True)


def _known_study(image: Placing) -> Study | None:
    """Return the study of the image; of a picture by its accession number."""
    uid = image.header.study_instance_uid
    study = _studies().filter(study_instance_uid=uid).first()
    if study is not None or not (image.picture and image.identity.accession_number):
        return study
    listed = _of_accession(_studies(), image.identity).order_by("received_at", "pk")
    return next((one for one in listed if belongs_to(one, image.identity)), None)


def _of_accession(studies: QuerySet[Study], identity: Identity) -> QuerySet[Study]:
    """Return studies with this accession number; an unconfirmed claim is none."""
    return studies.filter(
        accession_number=identity.accession_number,
        accession_issuer=identity.accession_issuer,
    ).exclude(flags__contains=[StudyFlag.IDENTITY_TO_CONFIRM])


def _refuse_other_department(study: Study, image: Placing) -> None:
    """Leave a study that the sender may not see as it is: others decide."""
    if not is_writable(study, image.actor, department=image.department):
        raise Conflicting(
            messages.STUDY_OF_OTHER_DEPARTMENT,
            conflicts_with=_some_instance(Q(series__study=study)),
        )


def _refuse_other_patient(study: Study, identity: Identity) -> None:
    """Refuse another patient; without an identifier the patient of the study holds."""
    if identity.received_key[0] is not None and not belongs_to(study, identity):
        raise Conflicting(
            messages.STUDY_OF_OTHER_PATIENT,
            conflicts_with=_some_instance(Q(series__study=study)),
        )


def _refuse_accession_of_another(
    identity: Identity, *, patient: Patient | None
) -> None:
    """Refuse an accession number of another patient's study.

    Args:
        identity: Of the image.
        patient: Of the known study; None for a new study.
    """
    if not identity.accession_number or identity.claimed:
        return
    for study in _of_accession(Study.objects.select_related("patient"), identity):
        same = (
            study.patient_id == patient.pk
            if patient
            else identity.patient_id is not None and belongs_to(study, identity)
        )
        if not same:
            raise Conflicting(
                messages.ACCESSION_OF_OTHER_PATIENT,
                conflicts_with=_some_instance(Q(series__study=study)),
            )


def _set_accession(study: Study, identity: Identity) -> None:
    """Set the accession number of a study that has none yet."""
    ours = (study.accession_number, study.accession_issuer)
    theirs = (identity.accession_number, identity.accession_issuer)
    if not identity.accession_number or ours == theirs:
        return
    _refuse_accession_of_another(identity, patient=study.patient)
    if not study.accession_number:
        study.accession_number, study.accession_issuer = theirs
        study.save(update_fields=["accession_number", "accession_issuer"])
        _flag_shared_accession(study, identity)


def _flag_shared_accession(study: Study, identity: Identity) -> None:
    if not identity.accession_number or identity.claimed:
        return
    shared = list(_of_accession(_studies(), identity).order_by("pk"))
    if len(shared) > 1:
        flag([study, *shared], StudyFlag.ACCESSION_SHARED)


def _new_study(image: Placing) -> Study:
    header, identity = image.header, image.identity
    _known_series(image, study=None)
    patient = _patient_of_accession(identity) or _patient(identity)
    study = Study.objects.create(
        patient=patient,
        study_instance_uid=image.header.study_instance_uid,
        received_patient_id=identity.received_key[0],
        received_issuer=identity.received_key[1],
        received_name=names.text_of(identity.name)[:1024],
        received_birth_date=identity.birth_date,
        received_sex=identity.sex,
        accession_number=identity.accession_number,
        accession_issuer=identity.accession_issuer,
        study_date=header.study_date,
        study_time=header.study_time,
        timezone_offset=header.timezone_offset[:5],
        description=header.study_description[:256],
        referring_physician=header.referring_physician[:324],
        priority=image.priority or Priority.ROUTINE,
        department=image.department,
    )
    _flag_shared_accession(study, identity)
    if identity.claimed:
        flag([study], StudyFlag.IDENTITY_TO_CONFIRM)
    return study


def _patient_of_accession(identity: Identity) -> Patient | None:
    """Return the patient to whom a study with this accession number was assigned.

    A further study that came with the same identity follows the assignment.
    """
    if not identity.accession_number or identity.patient_id is None:
        return None
    listed = _of_accession(Study.objects.select_related("patient"), identity)
    return next(
        (
            one.patient
            for one in listed.order_by("received_at", "pk")
            if belongs_to(one, identity)
        ),
        None,
    )


def _patient(identity: Identity) -> Patient:
    """Find or create the patient; without a patient_id always create one."""
    known = None
    if identity.patient_id is not None:
        known = Patient.objects.filter(
            patient_id=identity.patient_id, issuer=identity.issuer
        ).first()
    if known is not None:
        _fill_patient(known, identity)
        return known
    return Patient.objects.create(
        patient_id=identity.patient_id,
        issuer=identity.issuer,
        birth_date=identity.birth_date,
        sex=identity.sex,
        **names.columns_of(identity.name),
    )


def _fill_patient(patient: Patient, identity: Identity) -> None:
    """Fill empty fields of the patient; only people change filled ones.

    An image with another identifier or none, whose study was assigned to this patient,
    is not used.
    """
    own = identity.key == (patient.patient_id, patient.issuer)
    if not own or discrepancies.differences(discrepancies.stated(identity), patient):
        return
    gained: dict[str, object] = {}
    if identity.name and not names.name_of(patient):
        gained.update(names.columns_of(identity.name))
    if identity.birth_date and patient.birth_date is None:
        gained["birth_date"] = identity.birth_date
    if identity.sex and not patient.sex:
        gained["sex"] = identity.sex
    if gained:
        Patient.objects.filter(pk=patient.pk).update(**gained)
        patient.refresh_from_db(fields=list(gained))


def _known_series(image: Placing, *, study: Study | None) -> Series | None:
    """Return the known series of the image.

    Args:
        image: The image.
        study: Of the image; None for one that does not exist yet.

    Raises:
        Conflicting: The series belongs to another study.
    """
    series = (
        Series.objects.select_related("study__patient")
        .filter(series_instance_uid=image.header.series_instance_uid)
        .first()
    )
    if series is None or (study is not None and series.study_id == study.pk):
        return series
    identity = image.identity
    if study is not None:
        same_patient = series.study.patient_id == study.patient_id
    else:
        same_patient = identity.patient_id is None or belongs_to(series.study, identity)
    if not is_writable(series.study, image.actor, department=image.department):
        # Whose study it is, is not told.
        same_patient = True
    raise Conflicting(
        messages.SERIES_OF_OTHER_STUDY
        if same_patient
        else messages.SERIES_OF_OTHER_PATIENT,
        conflicts_with=_some_instance(Q(series=series)),
    )


def _series(image: Placing, study: Study) -> Series:
    header = image.header
    known = _known_series(image, study=study)
    if known is not None:
        known.study = study
        return known
    return Series.objects.create(
        study=study,
        series_instance_uid=image.header.series_instance_uid,
        modality=header.modality[:16],
        body_part_examined=header.body_part_examined[:64],
        view_position=header.view_position[:16],
        laterality=header.laterality[:16],
        description=header.series_description[:256],
        series_number=integer(header.series_number),
    )


def integer(number: int | None) -> int | None:
    """Return the number if a column can hold it: an IS has up to twelve digits."""
    if number is None or not SMALLEST_INTEGER <= number <= GREATEST_INTEGER:
        return None
    return number


def _some_instance(where: Q) -> Instance | None:
    return Instance.objects.filter(where).order_by("received_at", "pk").first()
