"""What refused uploads and quarantine say about a patient, removed by an erasure.

A refused file is not stored, but its Upload keeps what the form stated, the name of the
file and the values of its reason. A file in quarantine may be an image of the patient.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.conf import settings
from django.db import connection

from accounts.errors import InvalidInput
from patients import storage
from patients.containers import Kind, sniff
from patients.dicom.header import PersonName, read_header
from patients.identity import names
from patients.models import Instance, Patient, Study, Upload

# Shorter identifiers are parts of too many names of files.
SHORTEST_IDENTIFIER = 4
# What `Upload.submitted_identity` says about the sending, not about a patient.
_OF_THE_SENDING = frozenset({"model", "synthetic", "priority"})
# Conflicts where the file may be of quite another patient than the stored object.
_OF_TWO_PATIENTS = frozenset(
    {"conflict_patient", "conflict_study", "conflict_accession"}
)


@dataclass(frozen=True)
class Person:
    """What a patient is known by.

    Attributes:
        keys: (patient_id, issuer): the present one, and those that studies came with.
        known_elsewhere: Identifiers of `keys` that another issuer gave to another
            patient, too.
    """

    keys: frozenset[tuple[str, str]]
    known_elsewhere: frozenset[str]
    name: PersonName
    birth_date: date | None

    @classmethod
    def of(cls, patient: Patient) -> "Person":
        """Return what is known before the patient is deleted."""
        received = Study.objects.filter(patient=patient)
        keys = {
            (study.received_patient_id, study.received_issuer)
            for study in received
            if study.received_patient_id
        }
        if patient.patient_id:
            keys.add((patient.patient_id, patient.issuer))
        keys |= {
            (values["patient_id"], values["issuer"])
            for correction in patient.corrections.all()
            for values in (correction.before, correction.after)
            if values["patient_id"]
        }
        others = set(
            Patient.objects.exclude(pk=patient.pk)
            .filter(patient_id__in=[patient_id for patient_id, _ in keys])
            .values_list("patient_id", "issuer")
        )
        return cls(
            keys=frozenset(keys - others),
            known_elsewhere=frozenset(patient_id or "" for patient_id, _ in others),
            name=names.name_of(patient),
            birth_date=patient.birth_date,
        )

    def has_key(self, patient_id: str, issuer: str) -> bool:
        """Return whether an identifier is the patient's; the issuer may be missing."""
        if issuer:
            return (patient_id, issuer) in self.keys
        if patient_id in self.known_elsewhere:
            return (patient_id, settings.DEFAULT_ISSUER) in self.keys
        return any(patient_id == known for known, _issuer in self.keys)

    def is_stated_by(self, submitted: dict[str, Any]) -> bool:
        """Return whether a form states this patient: by identifier, else by name."""
        patient_id = str(submitted.get("patient_id") or "")
        if patient_id:
            return self.has_key(patient_id, str(submitted.get("issuer") or ""))
        birth_date = submitted.get("birth_date") or str(self.birth_date)
        return self.is_named_in(str(submitted.get("patient_name") or "")) and (
            self.birth_date is None or birth_date == str(self.birth_date)
        )

    def is_named_in(self, text: str) -> bool:
        """Return whether a text has the patient's identifier, or the whole name."""
        if any(text.strip() == patient_id for patient_id, _ in self.keys):
            return True
        words = names.fold(text).split()
        identifiers = (
            names.fold(patient_id).split()
            for patient_id, _ in self.keys
            if len(patient_id) >= SHORTEST_IDENTIFIER
        )
        if any(_contains(words, identifier) for identifier in identifiers):
            return True
        family, given = names.fold(self.name.family), names.fold(self.name.given)
        if family and given:
            joined = "".join(words)
            both = "".join((family + given).split()), "".join((given + family).split())
            if any(name in joined for name in both):
                return True
            if {*family.split(), *given.split()} <= set(words):
                return True
        whole = (self.name.ideographic, self.name.phonetic)
        return any(_contains(words, names.fold(name).split()) for name in whole)


@dataclass
class Traces:
    """What was removed.

    Attributes:
        deleted: Uploads whose file in quarantine was the patient's.
        cleared: Uploads that stay, without what they said about the patient.
        quarantined: SHA-256 of the files to delete from quarantine.
    """

    deleted: int = 0
    cleared: int = 0
    quarantined: set[str] = field(default_factory=set)


def erase_conflicts_with(instances: Iterable[Instance], person: Person) -> Traces:
    """Delete the uploads in conflict with images that are to be deleted.

    The image of another patient stays in quarantine, to be decided about: it is stored
    nowhere else. Its Upload no longer says with what it was in conflict.
    """
    traces = Traces()
    for upload in Upload.objects.filter(conflicts_with__in=instances):
        if upload.reason_code in _OF_TWO_PATIENTS and _of_another(upload, person):
            upload.conflicts_with = None
            upload.save(update_fields=["conflicts_with"])
        else:
            _delete(upload, traces)
    return traces


def erase_traces(person: Person, *, objects: Set[str]) -> Traces:
    """Remove what refused uploads and quarantine have of a patient.

    Args:
        person: From before the deletion.
        objects: SHA-256 of the files of the deleted images.
    """
    traces = Traces()
    for upload in Upload.objects.filter(instance=None).iterator():
        stated = person.is_stated_by(upload.submitted_identity)
        if upload.outcome == Upload.Outcome.CONFLICT:
            if _is_of(upload, person):
                _delete(upload, traces)
                continue
            # A person decides about this image of somebody else: the form is needed.
            stated = False
        elif upload.sha256 in objects:
            stated = True
        if _clear(upload, person, stated=stated):
            traces.cleared += 1
    return traces


def _delete(upload: Upload, traces: Traces) -> None:
    traces.deleted += 1
    if upload.sha256:
        traces.quarantined.add(upload.sha256)
    with connection.cursor() as cursor:
        cursor.execute("SELECT erase_uploads(ARRAY[%s])", [upload.pk])


def _clear(upload: Upload, person: Person, *, stated: bool) -> bool:
    """Remove the values of a patient from a row that stays; return if it had any."""
    submitted = upload.submitted_identity
    if stated:
        submitted = {k: v for k, v in submitted.items() if k in _OF_THE_SENDING}
    values = {
        "submitted_identity": submitted,
        "original_name": _without(upload.original_name, person),
        "reason_params": _without(upload.reason_params, person),
        "reason": _without(upload.reason, person),
    }
    changed = {k: v for k, v in values.items() if v != getattr(upload, k)}
    if changed:
        Upload.objects.filter(pk=upload.pk).update(**changed)
    return bool(changed)


def _without(value: Any, person: Person) -> Any:
    """Return a text or JSON with "" in the place of every text that names a patient."""
    if isinstance(value, str):
        birth_date = str(person.birth_date) if person.birth_date else None
        named = value == birth_date or person.is_named_in(value)
        return "" if named else value
    if isinstance(value, dict):
        return {key: _without(entry, person) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without(entry, person) for entry in value]
    return value


def _is_of(upload: Upload, person: Person) -> bool:
    """Return whether the file of a conflict is the patient's."""
    patient_id, issuer = _identifier_of(upload)
    return bool(patient_id) and person.has_key(patient_id, issuer)


def _of_another(upload: Upload, person: Person) -> bool:
    """Return whether the file of a conflict says that it is of another patient."""
    patient_id, issuer = _identifier_of(upload)
    return bool(patient_id) and not person.has_key(patient_id, issuer)


def _identifier_of(upload: Upload) -> tuple[str, str]:
    """Return patient_id and issuer of a file in conflict: of its header, else form."""
    submitted = upload.submitted_identity
    patient_id, issuer = _identifier_in_header(upload.sha256)
    return (
        patient_id or str(submitted.get("patient_id") or ""),
        issuer or str(submitted.get("issuer") or ""),
    )


def _identifier_in_header(sha256: str) -> tuple[str, str]:
    """Return what a file in quarantine states, or "" for a picture and a lost file."""
    try:
        with storage.open_quarantined(sha256) as file:
            if sniff(file) is not Kind.DICOM:
                return "", ""
            patient = read_header(file).patient
    except (FileNotFoundError, InvalidInput):
        return "", ""
    return patient.patient_id or "", patient.issuer


def _contains(words: list[str], part: list[str]) -> bool:
    """Return whether the words have these words in a row."""
    length = len(part)
    return bool(part) and any(
        words[at : at + length] == part for at in range(len(words) - length + 1)
    )
