"""What leaves ChestX: headers and DICOM files with the identity of the record.

Stored bytes never change. Where the record has another identity than the file, after a
correction or an assignment, it is written over that of the file on the way out. Values
that are equal stay as they are.
"""

import copy
from dataclasses import dataclass, replace
from datetime import date
from tempfile import TemporaryFile
from typing import IO, Any

import pydicom
from django.conf import settings
from pydicom.dataset import Dataset

from accounts.errors import InvalidInput
from ml.pixels import DICOM_ERRORS
from patients import messages, storage
from patients.dicom.header import PersonName, parse_date, parse_name
from patients.identity import names
from patients.models import Instance, Patient, PatientAssignment, PatientCorrection

_NAME, _ID, _ISSUER = 0x00100010, 0x00100020, 0x00100021
_BIRTH_DATE, _SEX = 0x00100030, 0x00100040
_VRS = {_NAME: "PN", _ID: "LO", _ISSUER: "LO", _BIRTH_DATE: "DA", _SEX: "CS"}
# Other names and identifiers, qualifiers of the issuer, the age: they belong to the
# identity of the file.
_STALE = (
    *(0x00100022, 0x00100024, 0x00100026, 0x00100032, 0x00101000, 0x00101001),
    *(0x00101002, 0x00101005, 0x00101010, 0x00101060),
)
_UTF_8 = "ISO_IR 192"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True)
class RecordedIdentity:
    """Identifier, name, date of birth and sex, as the record has or had them."""

    patient_id: str
    issuer: str
    name: PersonName
    birth_date: date | None
    sex: str

    @classmethod
    def of(cls, patient: Patient) -> "RecordedIdentity":
        """Return the present identity of a patient."""
        return cls(
            patient.patient_id or "",
            patient.issuer if patient.patient_id else "",
            names.name_of(patient),
            patient.birth_date,
            patient.sex,
        )

    @classmethod
    def of_correction(cls, values: dict[str, Any]) -> "RecordedIdentity":
        """Return an identity that a correction has kept."""
        parts = {part: values[column] for part, column in names.COLUMNS.items()}
        born = values["birth_date"]
        return cls(
            values["patient_id"] or "",
            values["issuer"] if values["patient_id"] else "",
            PersonName(**parts),
            date.fromisoformat(born) if born else None,
            values["sex"],
        )


def header_of(instance: Instance) -> dict[str, Any]:
    """Return the header as DICOM JSON (PS3.18 annex F), with the record's identity."""
    identity = RecordedIdentity.of(instance.series.study.patient)
    changes = _changes(instance.header, identity)
    if not changes:
        return instance.header
    header = copy.deepcopy(instance.header)
    for tag in _STALE:
        header.pop(f"{tag:08X}", None)
    _write_json(header, changes, nested=False)
    return dict(sorted(header.items()))


def open_dicom(
    instance: Instance, *, identity: RecordedIdentity | None = None
) -> IO[bytes]:
    """Open the DICOM file of an instance with the record's identity; close it.

    Where both identities are equal, these are the stored bytes.

    Args:
        instance: The instance.
        identity: Another identity, to recognise a copy that left with it.

    Raises:
        InvalidInput: unwritable_header: the header of the file cannot be written anew.
    """
    if identity is None:
        identity = RecordedIdentity.of(instance.series.study.patient)
    changes = _changes(instance.header, identity)
    if not changes:
        return storage.open_object(instance)
    written = TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        with storage.open_object(instance) as stored:
            dataset = pydicom.dcmread(stored)
        _change_identity(dataset, changes)
        dataset.save_as(written, enforce_file_format=True)
    except DICOM_ERRORS as error:
        written.close()
        raise InvalidInput(messages.UNWRITABLE_HEADER) from error
    written.seek(0)
    return written


def _change_identity(dataset: Dataset, changes: dict[int, str]) -> None:
    for tag in _STALE:
        if tag in dataset:
            del dataset[tag]
    if not _encodable(dataset, changes):
        dataset.decode()
        dataset.SpecificCharacterSet = _UTF_8
    _write_dataset(dataset, changes, nested=False)


def former_identities(instance: Instance) -> list[RecordedIdentity]:
    """Return the identities with which an instance may have left, the present first."""
    study = instance.series.study
    moves = PatientAssignment.objects.filter(study=study).select_related(
        "from_patient", "to_patient"
    )
    patients = {study.patient}
    for move in moves:
        patients |= {move.from_patient, move.to_patient}
    identities = [RecordedIdentity.of(study.patient)]
    identities += [RecordedIdentity.of(patient) for patient in patients]
    for correction in PatientCorrection.objects.filter(patient__in=patients):
        identities += [
            RecordedIdentity.of_correction(values)
            for values in (correction.before, correction.after)
        ]
    return list(dict.fromkeys(identities))


def _first(header: dict[str, Any], tag: int) -> Any:
    return next(iter(header.get(f"{tag:08X}", {}).get("Value") or ()), None)


def _stated_in_json(header: dict[str, Any]) -> RecordedIdentity:
    """Return the identity that a stored header states."""
    sex = str(_first(header, _SEX) or "").strip().upper()
    return RecordedIdentity(
        str(_first(header, _ID) or "").strip(),
        str(_first(header, _ISSUER) or "").strip(),
        parse_name("=".join(_name_groups(header))),
        parse_date(str(_first(header, _BIRTH_DATE) or "")),
        sex if sex in ("M", "F", "O") else "",
    )


def _name_groups(header: dict[str, Any]) -> list[str]:
    groups = _first(header, _NAME) or {}
    return [groups.get(group) or "" for group in _GROUPS]


def _name_text(header: dict[str, Any], stated: PersonName, name: PersonName) -> str:
    """Return the recorded name; a group that is right stays as the file has it.

    The record keeps the ideographic and phonetic groups without their components.
    """
    alphabetic = names.text_of(replace(name, ideographic="", phonetic=""))
    groups = [alphabetic, name.ideographic, name.phonetic]
    _alphabetic, ideographic, phonetic = _name_groups(header)
    if name.ideographic == stated.ideographic:
        groups[1] = ideographic
    if name.phonetic == stated.phonetic:
        groups[2] = phonetic
    return "=".join(groups).rstrip("=")


def _changes(header: dict[str, Any], record: RecordedIdentity) -> dict[int, str]:
    """Return the text of each element that the record has otherwise."""
    changes, stated = {}, _stated_in_json(header)
    if stated.name != record.name:
        changes[_NAME] = _name_text(header, stated.name, record.name)
    if stated.patient_id != record.patient_id:
        changes[_ID] = record.patient_id
    issuer = stated.issuer or (settings.DEFAULT_ISSUER if record.patient_id else "")
    if issuer != record.issuer:
        changes[_ISSUER] = record.issuer
    if stated.birth_date != record.birth_date:
        changes[_BIRTH_DATE] = (
            f"{record.birth_date:%Y%m%d}" if record.birth_date else ""
        )
    if stated.sex != record.sex:
        changes[_SEX] = record.sex
    return changes


def _write_json(item: dict[str, Any], changes: dict[int, str], *, nested: bool) -> None:
    """Write the changed values; in items of sequences only where they stand already."""
    for element in list(item.values()):
        if element.get("vr") == "SQ":
            for inner in element.get("Value") or ():
                _write_json(inner, changes, nested=True)
    for tag, text in changes.items():
        key = f"{tag:08X}"
        if nested and key not in item:
            continue
        element = {"vr": _VRS[tag]}
        if text:
            element["Value"] = [_name_json(text) if tag == _NAME else text]
        item[key] = element


def _name_json(text: str) -> dict[str, str]:
    values = zip(_GROUPS, text.split("="), strict=False)
    return {group: value for group, value in values if value}


def _write_dataset(dataset: Dataset, changes: dict[int, str], *, nested: bool) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _write_dataset(item, changes, nested=True)
    for tag, text in changes.items():
        if not nested or tag in dataset:
            dataset.add_new(tag, _VRS[tag], text)


def _encodable(dataset: Dataset, changes: dict[int, str]) -> bool:
    """Return whether the character set of the file holds the changed values.

    Only ASCII counts: code extensions depend on the set in force (PS3.5 6.1.2.5).
    """
    return all(text.isascii() for text in changes.values()) or (
        dataset.get("SpecificCharacterSet") == _UTF_8
    )
