"""Made-up studies without files, in bulk, for the benchmark of pages."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from django.db import connection, models, transaction
from django.utils.translation import gettext

from accounts.models import Department
from diagnoses.models import Finding, ModelVersion, Prediction, WorklistEntry
from diagnoses.worklist import models_in_use
from ml.labels import NOTHING_FOUND_LABELS
from patients.dicom.header import PersonName
from patients.identity import names
from patients.models import Instance, Patient, Priority, Series, Study

STUDIES_A_PATIENT = 4
_BATCH = 2_000
_ADDRESSES = 100
_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
_PRIORITIES = (*[Priority.ROUTINE] * 17, *[Priority.URGENT] * 2, Priority.STAT)
_THRESHOLD = 0.5
_WORKER = "benchmark"

# Adds the other findings of each made-up run, far below their thresholds.
_OTHER_FINDINGS = """
INSERT INTO diagnoses_finding (id, prediction_id, position, label, probability,
                               calibrated, threshold, threshold_source, positive)
SELECT gen_random_uuid(), run.id, %s, other.label, 0.01, false, %s, 'card', false
FROM diagnoses_prediction AS run CROSS JOIN (SELECT %s::text AS label) AS other
WHERE run.worker = 'benchmark' AND NOT EXISTS (
    SELECT FROM diagnoses_finding AS finding
    WHERE finding.prediction_id = run.id AND finding.label = other.label
)
"""


@dataclass
class _Batch:
    """Rows of some studies, in the order of their foreign keys."""

    patients: list[Patient]
    studies: list[Study]
    series: list[Series]
    instances: list[Instance]
    predictions: list[Prediction]
    findings: list[Finding]
    entries: list[WorklistEntry]

    def insert(self) -> None:
        """Write all rows in one transaction."""
        with transaction.atomic():
            for rows in vars(self).values():
                if rows:
                    type(rows[0])._default_manager.bulk_create(rows)


def fill(size: int, path: str) -> None:
    """Fill the record up to `size` studies, and write search words to a file."""
    department = Department.objects.order_by("pk").first()
    model = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()
    if department is None or model is None:
        raise RuntimeError(gettext("The record has no department or no active model."))
    made = Study.objects.count()
    while made < size:
        count = min(_BATCH, size - made)
        _batch(made, count, department=department, model=model).insert()
        made += count
    with connection.cursor() as cursor:
        for position, label in enumerate(_labels(model)):
            cursor.execute(_OTHER_FINDINGS, [position, _THRESHOLD, label])
        cursor.execute("ANALYZE")
    Path(path).write_text(json.dumps(_addresses(size)), encoding="utf-8")


def _batch(
    first: int, count: int, *, department: Department, model: ModelVersion
) -> _Batch:
    rng = random.Random(first)  # noqa: S311 - made-up records, the same in every run
    batch = _Batch([], [], [], [], [], [], [])
    in_use = models_in_use().key
    for number in range(first, first + count):
        if not batch.patients or number % STUDIES_A_PATIENT == 0:
            batch.patients.append(_patient(number, rng))
        _add_study(
            batch, number, rng, department=department, model=model, in_use=in_use
        )
    return batch


def _patient(number: int, rng: random.Random) -> Patient:
    name = PersonName(family=_word(rng, 3), given=_word(rng, 2))
    return Patient(
        patient_id=f"BENCH-{number:08d}",
        issuer="BENCH",
        birth_date=date(1930, 1, 1) + timedelta(days=rng.randrange(30_000)),
        sex=rng.choice("MF"),
        **names.columns_of(name),
    )


def _add_study(
    batch: _Batch,
    number: int,
    rng: random.Random,
    *,
    department: Department,
    model: ModelVersion,
    in_use: str,
) -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * number)
    patient = batch.patients[-1]
    study = Study(
        patient=patient,
        study_instance_uid=_uid(),
        received_patient_id=patient.patient_id,
        received_issuer=patient.issuer,
        accession_number=f"BA{number:08d}",
        study_date=at.date(),
        description="Chest PA",
        priority=rng.choice(_PRIORITIES),
        department=department,
        received_at=at,
    )
    batch.studies.append(study)
    prediction = _add_image(batch, study, number, model=model)
    leading = _add_leading(batch, prediction, rng, labels=_labels(model))
    batch.entries.append(_entry(study, prediction, leading, models_in_use=in_use))


def _entry(
    study: Study, prediction: Prediction, leading: Finding, *, models_in_use: str
) -> WorklistEntry:
    """Return the worklist entry of one model that claims the label of the finding."""
    flagged = leading.positive and leading.label not in NOTHING_FOUND_LABELS
    return WorklistEntry(
        study=study,
        department=study.department,
        priority=study.priority,
        received_at=study.received_at,
        status=prediction.status,
        images=1,
        images_waiting=0,
        images_unread=0,
        prediction=prediction,
        finding=leading,
        flagged=flagged,
        label=leading.label,
        models_flagging=int(flagged),
        models_reading=1,
        highest=leading.probability,
        models_in_use=models_in_use,
    )


def _add_image(
    batch: _Batch, study: Study, number: int, *, model: ModelVersion
) -> Prediction:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    series = Series(
        study=study,
        series_instance_uid=_uid(),
        modality="DX",
        body_part_examined="CHEST",
        view_position="PA",
    )
    instance = _instance(series, digest)
    prediction = Prediction(
        instance=instance,
        model_version=model,
        status=Prediction.Status.SUCCEEDED,
        priority=study.priority,
        attempt=1,
        worker=_WORKER,
        input_sha256=digest,
        queued_at=study.received_at,
        started_at=study.received_at,
        finished_at=study.received_at,
        milliseconds=20.0,
    )
    batch.series.append(series)
    batch.instances.append(instance)
    batch.predictions.append(prediction)
    return prediction


def _instance(series: Series, digest: str) -> Instance:
    return Instance(
        series=series,
        sop_instance_uid=_uid(),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        rows=2000,
        columns=2000,
        frames=1,
        size_bytes=8_000_000,
        synthetic=True,
        object_sha256=digest,
        dataset_sha256=digest,
        header_sha256=digest,
        pixel_sha256=digest,
        hash_rule=1,
        header={},
        received_at=series.study.received_at,
    )


def _add_leading(
    batch: _Batch, prediction: Prediction, rng: random.Random, *, labels: list[str]
) -> Finding:
    """Add the highest score of a run; `_OTHER_FINDINGS` adds the others."""
    position = rng.randrange(len(labels))
    probability = rng.uniform(1 / len(labels), 1.0)
    finding = Finding(
        prediction=prediction,
        position=position,
        label=labels[position],
        probability=probability,
        calibrated=False,
        threshold=_THRESHOLD,
        threshold_source=Finding.ThresholdSource.CARD,
        positive=probability >= _THRESHOLD,
    )
    batch.findings.append(finding)
    return finding


def _addresses(size: int) -> dict[str, list[str]]:
    """Choose search words: evenly spread over the record at every size."""
    made_up = Patient.objects.filter(issuer="BENCH").order_by("patient_id")
    step = max(1, made_up.count() // _ADDRESSES)
    patients = [made_up[i] for i in range(0, min(made_up.count(), step * 100), step)]
    studies = _among_studies(patients)
    return {
        "names": [f"{p.family_name} {p.given_name}" for p in patients],
        "identifiers": [str(p.patient_id) for p in patients],
        "accession_numbers": list(studies.values_list("accession_number", flat=True)),
        "patients": [str(p.pk) for p in patients],
        "size": [str(size)],
    }


def _among_studies(patients: list[Patient]) -> models.QuerySet[Study]:
    return Study.objects.filter(patient__in=patients).order_by("study_instance_uid")[
        :_ADDRESSES
    ]


def _labels(model: ModelVersion) -> list[str]:
    return [label["name"] for label in model.card["labels"]]


def _word(rng: random.Random, syllables: int) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(syllables)).capitalize()


def _uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
