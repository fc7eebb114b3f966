"""All routes of the URL configuration, with the keys of a made-up record."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import audit
from accounts.models import FailedSignIns, User
from accounts.tokens import issue_token
from diagnoses.models import Finding, Prediction, SiteAcceptance, StateChange
from diagnoses.worklist import refresh_entry
from patients.identity.corrections import CORRECTABLE
from patients.models import (
    FlagReconciliation,
    IdentityDiscrepancy,
    Instance,
    Patient,
    PatientAssignment,
    PatientCorrection,
    Study,
)
from tests.diagnoses.fakes import installed_model, stored_image
from tests.factories import (
    FindingFactory,
    HeatMapFactory,
    PatientFactory,
    PredictionFactory,
    StudyFactory,
    UploadFactory,
    UserFactory,
)

# No answer may contain these without an audit event. They occur nowhere else.
FAMILY_NAME, MRN, ACCESSION_NUMBER = "Wanderweg", "MRN-4711-WALK", "ACC-4711-WALK"
FILE_NAME = "wanderweg-image.dcm"
UNKNOWN_KEY = uuid.UUID("00000000-0000-4000-8000-000000000000")


@dataclass
class Record:
    """A patient with one row of everything that belongs to a patient."""

    user: User
    study: Study
    instance: Instance
    prediction: Prediction
    finding: Finding
    values: dict[str, str] = field(default_factory=dict)

    @property
    def marks(self) -> tuple[bytes, ...]:
        """Words that occur only in answers with this patient's data."""
        words = (
            FAMILY_NAME.upper(),
            FAMILY_NAME,
            MRN,
            ACCESSION_NUMBER,
            FILE_NAME,
            self.study.study_instance_uid,
            self.instance.sop_instance_uid,
        )
        return tuple(word.encode() for word in words)


def make_record(user: User) -> Record:
    """Make a patient with a read image, and a row of every model of the admin."""
    model_version = installed_model()
    SiteAcceptance.objects.create(
        model_version=model_version,
        figures={},
        images=1,
        patients=1,
        manifest_sha256="a" * 64,
    )
    StateChange.objects.create(
        model_version=model_version, to_state="active", reason="tests"
    )
    patient = PatientFactory(
        patient_id=MRN, family_name=FAMILY_NAME, name_folded=FAMILY_NAME.casefold()
    )
    study = StudyFactory(patient=patient, accession_number=ACCESSION_NUMBER)
    instance = stored_image(series__study=study)
    upload = UploadFactory(
        instance=instance,
        original_name=FILE_NAME,
        user=user,
        department=study.department,
    )
    prediction = PredictionFactory(
        succeeded=True, instance=instance, model_version=model_version
    )
    finding = FindingFactory(
        prediction=prediction, label="Tuberculosis", probability=0.9
    )
    HeatMapFactory(finding=finding)
    refresh_entry(study.pk)
    PatientAssignment.objects.create(
        study=study, from_patient=PatientFactory(), to_patient=patient, assigned_by=user
    )
    values = dict.fromkeys(CORRECTABLE, "") | {
        "patient_id": MRN,
        "birth_date": None,
        "family_name": FAMILY_NAME,
    }
    PatientCorrection.objects.create(
        patient=patient,
        before=values | {"family_name": ""},
        after=values,
        reason="tests",
        corrected_by=user,
    )
    IdentityDiscrepancy.objects.create(
        study=study, attribute="sex", received="F", recorded="M"
    )
    FlagReconciliation.objects.create(
        study=study,
        patient=patient,
        flag="accession_shared",
        choice="no_error",
        reason="tests",
        reconciled_by=user,
    )
    FailedSignIns.objects.create(name_digest="0" * 64, user=user, failures=1)
    issue_token(UserFactory())
    audit.record(action="view", actor=user, source="web", patients=[patient.pk])
    record = Record(user, study, instance, prediction, finding)
    record.values = {
        "patient_id": str(patient.pk),
        "study_id": str(study.pk),
        "instance_id": str(instance.pk),
        "prediction_id": str(prediction.pk),
        "finding_id": str(finding.pk),
        "upload_id": str(upload.pk),
        "frame": "0",
        "name": model_version.name,
        "app_label": "patients",
        "url": "no-such-page",
    }
    return record


@dataclass(frozen=True)
class Route:
    """A route: its name, its pattern, and values for the parameters of its path."""

    name: str
    pattern: str
    values: dict[str, str]

    @property
    def path(self) -> str:
        """A path of the route that exists."""
        return self.path_with({})

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters of the path."""
        return re.findall(r"<(\w+)>", self.pattern)

    @property
    def unknown_path(self) -> str:
        """The same with keys that do not exist."""
        known = {"frame": "0", "app_label": "no_app", "name": "no-such-model"}
        return self.path_with(
            {name: known.get(name, str(UNKNOWN_KEY)) for name in self.parameters}
        )

    def path_with(self, values: dict[str, str]) -> str:
        """Return a path with other values for some parameters."""
        merged = self.values | values
        return "/" + re.sub(r"<(\w+)>", lambda match: merged[match[1]], self.pattern)


def routes(record: Record) -> list[Route]:
    """Return every route of the site.

    Raises:
        KeyError: There is no value for a parameter of a route: add it to
            `make_record`.
    """
    return [
        Route(name, pattern, _values(pattern, record))
        for name, pattern in _walk(get_resolver().url_patterns)
    ]


def _walk(
    patterns: list[URLPattern | URLResolver], prefix: str = "", space: str = ""
) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        whole = prefix + _plain(pattern)
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else space
            yield from _walk(pattern.url_patterns, whole, inner)
        else:
            yield f"{space}{pattern.name}", whole


def _plain(pattern: URLPattern | URLResolver) -> str:
    written = str(pattern.pattern)
    if written.startswith("^") or "(?P" in written:
        return simplify_regex(written).lstrip("/")
    return re.sub(r"<\w+:(\w+)>", r"<\1>", written)


def _values(pattern: str, record: Record) -> dict[str, str]:
    known = {
        **record.values,
        **_keys_of_rest(pattern, record),
        **_keys_of_admin(pattern, record),
    }
    return {name: known[name] for name in re.findall(r"<(\w+)>", pattern)}


def _keys_of_rest(pattern: str, record: Record) -> dict[str, str]:
    match = re.match(r"api/v1/(\w+)/<pk>", pattern)
    if not match:
        return {}
    keys = {
        "patients": record.study.patient_id,
        "studies": record.study.pk,
        "series": record.instance.series_id,
        "instances": record.instance.pk,
        "uploads": record.values["upload_id"],
        "predictions": record.prediction.pk,
        "worklist": record.study.pk,
    }
    return {"pk": str(keys[match[1]])}


def _keys_of_admin(pattern: str, record: Record) -> dict[str, str]:
    match = re.match(r"admin/(\w+)/(\w+)/", pattern)
    if not match:
        return {"object_id": "1"}
    for model in admin.site._registry:
        if (model._meta.app_label, model._meta.model_name) == match.groups():
            key = _key_of_a_row(model, record)
            return {"object_id": key, "id": key}
    return {}


def _key_of_a_row(model: Any, record: Record) -> str:
    if model is Patient:
        # There are two patients: the study was moved from one to the other.
        return str(record.study.patient_id)
    row = model._base_manager.order_by("pk").first()
    if row is None:
        raise LookupError(f"make_record makes no {model.__name__}: add one")
    return str(row.pk)
