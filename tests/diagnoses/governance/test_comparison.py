"""Comparison of two versions on the images that both have read."""

from __future__ import annotations

import pytest

from accounts.models import AuditEvent, Role
from diagnoses.governance.comparison import agreement_of, compare, compare_image
from diagnoses.models import ModelVersion, Prediction
from patients.models import Instance
from tests.clients import html, person, program
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json, image_row
from tests.factories import (
    DepartmentFactory,
    FindingFactory,
    ModelVersionFactory,
    PredictionFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db
NAME = DEFAULT_MODEL


@pytest.fixture
def versions() -> tuple[ModelVersion, ModelVersion]:
    return (
        ModelVersionFactory(name=NAME, card=card_json(NAME)),
        ModelVersionFactory(
            name=NAME, version="2", state="shadow", card=card_json(NAME)
        ),
    )


def says(image: Instance, version: ModelVersion, **scores: float) -> Prediction:
    """Let a version read an image; every threshold is 0.5."""
    run = PredictionFactory(
        instance=image,
        model_version=version,
        succeeded=True,
        shadow=version.state == "shadow",
        run=Prediction.objects.filter(instance=image, model_version=version).count()
        + 1,
    )
    for position, (label, probability) in enumerate(scores.items()):
        FindingFactory(
            prediction=run, label=label, probability=probability, position=position
        )
    return run


@pytest.fixture
def images(versions: tuple[ModelVersion, ModelVersion]) -> list[Instance]:
    """Four images that both have read, and one that only the first has."""
    first, second = versions
    made = [image_row() for _ in range(5)]
    for image, (one, other) in zip(
        made, [(0.9, 0.8), (0.1, 0.3), (0.7, 0.2), (0.2, 0.1)], strict=False
    ):
        says(image, first, Normal=1 - one, Tuberculosis=one)
        says(image, second, Normal=1 - other, Tuberculosis=other, Emphysema=0.9)
    says(made[4], first, Tuberculosis=0.9)
    return made


def test_a_comparison_counts_each_label_on_images_read_by_both(
    versions: tuple[ModelVersion, ModelVersion], images: list[Instance]
) -> None:
    comparison = compare(*versions, user=UserFactory(role=Role.ADMIN))
    assert comparison.images == 4
    tuberculosis = {label.label: label for label in comparison.labels}["Tuberculosis"]
    counts = (tuberculosis.both, tuberculosis.first_only, tuberculosis.second_only)
    assert (*counts, tuberculosis.neither) == (1, 1, 0, 2)
    assert tuberculosis.mean_difference == pytest.approx(0.225)
    assert tuberculosis.agreement.share == 0.75
    # Observed 3/4; by chance 2/4 * 1/4 + 2/4 * 3/4 = 1/2.
    assert tuberculosis.agreement.kappa == pytest.approx(0.5)
    assert "Emphysema" not in {label.label for label in comparison.labels}
    assert comparison.highest is not None
    assert comparison.images_differing == 1
    [image] = comparison.differing
    assert image.instance_id == images[2].pk
    assert image.greatest_difference == pytest.approx(0.5)


def test_a_comparison_uses_the_latest_run_of_each_version(
    versions: tuple[ModelVersion, ModelVersion], images: list[Instance]
) -> None:
    says(images[2], versions[1], Normal=0.3, Tuberculosis=0.7)
    comparison = compare(*versions, user=UserFactory(role=Role.ADMIN))
    assert (comparison.images, comparison.images_differing) == (4, 0)


def test_images_of_other_departments_are_not_counted(
    versions: tuple[ModelVersion, ModelVersion], images: list[Instance]
) -> None:
    own, other = (UserFactory(role=Role.DATA_SCIENTIST) for _ in range(2))
    other.departments.set([DepartmentFactory(code="cardiology")])
    assert compare(*versions, user=own).images == 4
    assert compare(*versions, user=other).images == 0
    assert compare_image(*versions, image=images[0].pk, user=own) is not None
    assert compare_image(*versions, image=images[0].pk, user=other) is None


def test_kappa_is_cohens_kappa() -> None:
    # Cohen's own measure on the textbook table of two readers.
    table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    agreement = agreement_of(table)
    assert (agreement.images, agreement.agreed, agreement.share) == (50, 35, 0.7)
    assert agreement.kappa == pytest.approx(0.4)
    assert agreement_of({(False, False): 9}).kappa is None
    assert agreement_of({}).share is None


def test_administrators_and_data_scientists_compare_on_a_page(
    versions: tuple[ModelVersion, ModelVersion], images: list[Instance]
) -> None:
    for role in (Role.ADMIN, Role.DATA_SCIENTIST):
        page = html(person(role), "/models/compare/")
        assert "4 images scored by both" in page
        assert str(images[2].pk)[:8] in page
        assert (f"/studies/{images[2].series.study_id}/" in page) == (
            role == Role.ADMIN
        )
        patient = images[2].series.study.patient
        assert patient.family_name.upper() not in page.upper()
        event = AuditEvent.objects.filter(object_kind="comparison").latest("at")
        assert event.subjects.get().patient_uuid == patient.pk


def test_one_image_can_be_compared_label_by_label(
    versions: tuple[ModelVersion, ModelVersion], images: list[Instance]
) -> None:
    client = person(Role.DATA_SCIENTIST)
    url = f"/models/compare/?first={DEFAULT_MODEL}@1&second={DEFAULT_MODEL}@2"
    page = html(client, f"{url}&image={images[2].pk}")
    assert "differs" in page
    assert "0.70 · 0.50" in page
    assert client.get(f"{url}&image={images[4].pk}").status_code == 404
    assert client.get(f"{url}&image=x").status_code == 404
    assert client.get("/models/compare/?first=nobody@1").status_code == 404


def test_the_comparison_page_asks_for_two_versions() -> None:
    page = html(person(Role.ADMIN), "/models/compare/")
    assert "Choose two versions" in page


def test_versions_can_be_compared_over_rest(
    versions: tuple[ModelVersion, ModelVersion], images: list[Instance]
) -> None:
    url = f"/api/v1/models/compare/?first={DEFAULT_MODEL}@1&second="
    client = program(Role.DATA_SCIENTIST)
    comparison = client.get(f"{url}{DEFAULT_MODEL}@2").json()
    assert (comparison["images"], comparison["images_differing"]) == (4, 1)
    assert comparison["differing"][0]["instance"] == str(images[2].pk)
    assert client.get(f"{url}nobody@1").status_code == 400
    assert program(Role.RADIOLOGIST).get(url).status_code == 403
