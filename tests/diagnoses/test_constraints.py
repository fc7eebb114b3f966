"""What the database refuses, whatever Python writes."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from diagnoses.models import ModelVersion, Prediction
from patients.models import Instance, Patient
from tests.diagnoses.fakes import image_row
from tests.factories import PatientFactory

pytestmark = pytest.mark.django_db
REJECTED = {"status": "rejected", "reason_code": "no_model"}


def refused(constraint: str, write: Any, **values: Any) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        write(**values)


def test_a_model_has_at_most_one_open_run_on_an_image(
    chest_model: ModelVersion,
) -> None:
    own = {"instance": image_row(), "model_version": chest_model}
    Prediction.objects.create(**own)
    refused("prediction_one_open", Prediction.objects.create, **own, run=2)


def test_an_image_has_one_run_without_a_model_and_it_is_rejected() -> None:
    image = image_row()
    write = Prediction.objects.create
    refused("prediction_without_model_is_rejected", write, instance=image)
    write(instance=image, finished_at=Now(), **REJECTED)
    refused(
        "prediction_run_unique", write, instance=image, finished_at=Now(), **REJECTED
    )


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("prediction_lease_while_running", {"status": "running"}),
        ("prediction_finished_at_its_end", REJECTED),
        (
            "prediction_ends_for_a_reason",
            {"status": "failed", "finished_at": Now()},
        ),
        (
            "prediction_says_what_it_saw",
            {"status": "succeeded", "finished_at": Now()},
        ),
    ],
)
def test_a_run_has_the_values_that_its_status_needs(
    chest_model: ModelVersion, constraint: str, values: dict[str, Any]
) -> None:
    own = {"instance": image_row(), "model_version": chest_model}
    refused(constraint, Prediction.objects.create, **own, **values)


def test_a_patient_identifier_is_unique_per_issuer_and_not_empty() -> None:
    PatientFactory(patient_id="P-1", issuer="LOCAL")
    PatientFactory(patient_id="P-1", issuer="ELSEWHERE")
    write = Patient.objects.create
    refused("patient_identifier_unique", write, patient_id="P-1", issuer="LOCAL")
    refused("patient_id_not_empty", write, patient_id="", issuer="LOCAL")
    for _ in range(2):
        write(patient_id=None, issuer="LOCAL")


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("instance_hashes_are_sha256", {"object_sha256": "x" * 64}),
        ("instance_pixel_spacing_whole", {"pixel_spacing_row_mm": 0.1}),
        ("instance_origin_known", {"origin": "nowhere"}),
        ("sop_instance_uid_not_empty", {"sop_instance_uid": ""}),
    ],
)
def test_values_of_an_image_outside_their_range_are_refused(
    constraint: str, values: dict[str, Any]
) -> None:
    rows = Instance.objects.filter(pk=image_row().pk)
    refused(constraint, rows.update, **values)
