"""The study page: image, findings, and the states without findings."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

import cv2
import numpy as np
import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, Role
from diagnoses.leases import claim
from diagnoses.models import Finding, Prediction
from diagnoses.pages.study.stage import left_marker
from patients.models import IdentityDiscrepancy, Instance, Priority, Study, StudyFlag
from tests.clients import html, person
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import installed_model, stored_image
from tests.diagnoses.pages.page_rows import (
    failed,
    read,
    rejected,
    study_with_image,
    waiting,
)
from tests.dicom_factory import image as dicom_image
from tests.dicom_factory import written
from tests.factories import (
    DepartmentFactory,
    FindingFactory,
    HeatMapFactory,
    InstanceFactory,
    PatientFactory,
    PredictionFactory,
    UserFactory,
)
from tests.patients.sending import send

pytestmark = pytest.mark.django_db


def url(image: object) -> str:
    return f"/studies/{image.series.study_id}/"


def test_the_strongest_flagged_finding_is_first_and_its_heat_map_is_off(
    client: Client,
) -> None:
    image = study_with_image()
    read(image, Bacterial_pneumonia=0.7, Tuberculosis=0.8, Normal=0.9)
    leading = Finding.objects.get(label="Tuberculosis")

    page = html(client, url(image))

    order = re.findall(r'data-finding="([^"]+)"', page)
    assert order == ["Tuberculosis 0.80", "Bacterial pneumonia 0.70", "Normal 0.90"]
    assert page.count("#filled-square") == 2
    assert f'data-layer-url="/findings/{leading.pk}/layer.png"' in page
    assert "data-layer\n       hidden>" in page
    assert DEFAULT_MODEL in page
    assert "Analysed in 41 ms" in page
    assert "Decision support, not for diagnosis" in page
    assert f"/models/{DEFAULT_MODEL}/?version=1" in page


def test_an_image_without_positive_findings_has_no_overlay(client: Client) -> None:
    image = study_with_image()
    read(image, Normal=0.9)

    page = html(client, url(image))

    assert "data-layer\n       hidden>" in page
    assert "#filled-square" not in page


def test_the_heat_map_is_shown_to_a_user_who_chose_so_before(client: Client) -> None:
    image = study_with_image()
    read(image, Tuberculosis=0.8)
    layer = f'src="/findings/{Finding.objects.get(label="Tuberculosis").pk}/layer.png'
    events = AuditEvent.objects.count()

    answer = client.post("/preferences/heat-map/", {"shown": "1", "cells": "1"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert AuditEvent.objects.count() == events, "no patient data, no event"
    assert f'{layer}?cells=1"' in html(client, url(image))

    client.post("/preferences/heat-map/", {"shown": "1"})
    assert f'{layer}"' in html(client, url(image))

    client.post("/preferences/heat-map/")
    assert layer not in html(client, url(image))


def test_the_legend_names_model_label_score_and_grid(client: Client) -> None:
    image = study_with_image()
    read(image, Tuberculosis=0.8)
    finding = Finding.objects.get(label="Tuberculosis")

    legend = html(client, f"{url(image)}?finding={finding.pk}").split("data-legend ")[1]

    for part in (
        "Tuberculosis 0.80",
        f"{DEFAULT_MODEL} 1",
        "7 × 7 cells",
        "Added to the logit; transparent below 0.10.",
    ):
        assert part in legend


def test_the_legend_of_an_older_ensemble_says_that_its_unit_is_not_known(
    client: Client,
) -> None:
    image = study_with_image()
    run = read(image, Tuberculosis=0.8)
    version = run.model_version
    version.card = {**version.card, "members": [{"name": "a"}]}
    version.save()

    assert "Relative scale of an older result" in html(client, url(image))


def test_a_finding_at_zero_paints_nothing_and_its_legend_says_so(
    client: Client,
) -> None:
    image = study_with_image()
    read(image, Tuberculosis=0.004, Normal=0.9)
    finding = Finding.objects.get(label="Tuberculosis")

    answer = client.get(f"/findings/{finding.pk}/layer.png")
    page = html(client, f"{url(image)}?finding={finding.pk}")

    layer = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert not layer.any()
    assert "Nothing to paint: no cell reaches 0.10." in page


def test_labels_without_a_claimed_accuracy_have_a_sentence_and_no_mark(
    client: Client,
) -> None:
    image = study_with_image()
    run = read(image, Tuberculosis=0.99, Normal=0.1)
    run.model_version.claimed_labels = ["Normal"]
    run.model_version.save()

    page = html(client, url(image))

    order = re.findall(r'data-finding="(\w+)', page)
    assert order[0] == "Normal"
    assert "claims no accuracy for the labels below" in page
    assert "#filled-square" not in page
    assert 'class="bar positive"' not in page


def test_a_finding_can_be_selected_without_scripts(client: Client) -> None:
    image = study_with_image()
    read(image, Tuberculosis=0.8)
    normal = Finding.objects.get(label="Normal")

    page = html(client, f"{url(image)}?finding={normal.pk}")

    assert f'src="/findings/{normal.pk}/layer.png"' in page


def test_a_rejected_image_has_a_reason_and_no_bar(client: Client) -> None:
    image = study_with_image()
    rejected(image, "lateral_view", "This is a lateral view by its header.")

    page = html(client, url(image))

    assert "This is a lateral view by its header." in page
    assert '<svg class="bar' not in page
    assert "study-changes" not in page


def test_a_failed_run_can_be_retried_by_permitted_roles(client: Client) -> None:
    image = study_with_image()
    run = failed(image)
    retry = f"/predictions/{run.pk}/retry/"

    assert retry in html(client, url(image))
    assert retry not in html(person(Role.CLINICIAN), url(image))
    assert client.post(retry).status_code == 302
    assert Prediction.objects.filter(instance=image, status="queued").count() == 1
    assert person(Role.CLINICIAN).post(retry).status_code == 403


def test_a_waiting_study_polls_and_polling_is_not_audited(
    client: Client,
) -> None:
    patient = PatientFactory(family_name="Secret", patient_id="MRN-SECRET")
    image = study_with_image(patient=patient)
    run = waiting(image)
    match = re.search(r'hx-get="([^"]+/changes/[^"]+)"', html(client, url(image)))
    assert match
    address = match.group(1).replace("&amp;", "&")
    events = AuditEvent.objects.count()

    same = client.get(address)
    Prediction.objects.filter(pk=run.pk).update(
        status="failed", reason_code="x", finished_at=run.queued_at
    )
    changed = client.get(address)

    assert "HX-Trigger" not in same
    assert "delay:1s" in same.content.decode()
    assert "secret" not in same.content.decode().lower()
    assert (changed.content, changed["HX-Trigger"]) == (b"", "study-changed")
    assert AuditEvent.objects.count() == events


def test_polling_gets_slower(client: Client) -> None:
    image = study_with_image()
    waiting(image)
    match = re.search(r'hx-get="([^"]+/changes/[^"]+)"', html(client, url(image)))
    address = match.group(1).replace("&amp;", "&")

    delays = [
        re.search(
            r"delay:(\d+)s", html(client, re.sub(r"times=\d+", f"times={n}", address))
        )
        for n in (0, 20, 50, 10**5)
    ]

    assert [int(delay.group(1)) for delay in delays if delay] == [1, 2, 5, 15]


def test_a_polled_result_is_audited_like_the_page(client: Client) -> None:
    image = study_with_image()
    read(image, Tuberculosis=0.8)

    part = html(client, f"{url(image)}results/?image={image.pk}")

    assert "Tuberculosis" in part
    event = AuditEvent.objects.get(action="view", object_kind="study")
    assert event.object_uuid == image.series.study_id
    assert [s.patient_uuid for s in event.subjects.all()] == [
        image.series.study.patient_id
    ]


def test_a_flag_is_shown_as_a_warning_until_it_is_reconciled(
    client: Client,
) -> None:
    image = study_with_image(flags=[StudyFlag.DEMOGRAPHICS_MISMATCH])
    waiting(image)

    assert "differs from the record" in html(client, url(image))
    assert "name, birth date or sex differs" in html(client, "/")
    patient = f"/patients/{image.series.study.patient_id}/"
    assert "differs from the record" in html(client, patient)


def test_both_values_of_a_discrepancy_are_shown_on_every_page_of_the_study(
    client: Client,
) -> None:
    image = study_with_image(flags=[StudyFlag.DEMOGRAPHICS_MISMATCH])
    IdentityDiscrepancy.objects.create(
        study=image.series.study,
        attribute=IdentityDiscrepancy.Attribute.PATIENT_NAME,
        received="Roe^Jane",
        recorded="Doe^Jane",
    )
    waiting(image)
    later = study_with_image(patient=image.series.study.patient)
    waiting(later)
    Study.objects.filter(pk=image.series.study_id).update(study_date=date(2020, 1, 1))

    both = "Name sent: Roe, Jane; on record: Doe, Jane"
    patient = f"/patients/{image.series.study.patient_id}/"
    for address in ("/", patient, url(image), url(later)):
        assert both in html(client, address)


def test_several_images_are_listed_side_by_side(client: Client) -> None:
    image = study_with_image(image={"view_position": "PA", "instance_number": 1})
    other = InstanceFactory(series=image.series, view_position="LL", instance_number=2)
    read(image, Tuberculosis=0.8)
    rejected(other, "lateral_view", "A lateral view.")

    page = html(client, f"{url(image)}?image={other.pk}")

    assert f'href="?image={image.pk}">1 PA' in page
    assert f'href="?image={other.pk}" aria-current="page">2 LL' in page
    assert "A lateral view." in page
    assert client.get(f"{url(image)}?image={image.series_id}").status_code == 404


def test_earlier_studies_of_the_patient_are_listed(client: Client) -> None:
    patient = PatientFactory()
    before = study_with_image(
        patient=patient, minutes_ago=9, description="Chest before"
    )
    read(before, Normal=0.88)
    read(study_with_image(minutes_ago=5, description="Somebody else's"), Normal=0.5)
    image = study_with_image(patient=patient)
    read(image, Tuberculosis=0.8)

    page = html(client, url(image))

    assert "Chest before" in page
    assert "Normal 0.88" in page
    assert "Somebody else" not in page


def test_an_earlier_study_is_one_that_was_made_earlier(client: Client) -> None:
    """The older examination may arrive later, from another hospital's archive."""
    patient = PatientFactory()
    later = study_with_image(
        patient=patient,
        minutes_ago=9,
        description="Chest later",
        study_date=date(2024, 5, 2),
    )
    before = study_with_image(
        patient=patient,
        minutes_ago=1,
        description="Chest before",
        study_date=date(2024, 4, 2),
    )
    image = study_with_image(
        patient=patient, minutes_ago=5, study_date=date(2024, 5, 1)
    )
    for one in (later, before, image):
        read(one, Normal=0.88)

    page = html(client, url(image))

    assert "Chest before" in page
    assert "Chest later" not in page


def test_a_study_of_another_department_is_404(client: Client) -> None:
    image = study_with_image(department=DepartmentFactory(code="elsewhere"))
    run = read(image, Tuberculosis=0.8)
    finding = run.findings.first()

    for address in (
        url(image),
        f"{url(image)}results/",
        f"{url(image)}changes/",
        f"/patients/{image.series.study.patient_id}/",
        f"/images/{image.pk}/0.png",
        f"/findings/{finding.pk}/layer.png",
    ):
        assert client.get(address).status_code == 404
    assert client.post(f"/predictions/{run.pk}/retry/").status_code == 404


def test_a_page_makes_the_same_number_of_queries_for_any_findings(
    client: Client, django_assert_max_num_queries: Callable
) -> None:
    image = study_with_image()
    run = read(image, Tuberculosis=0.8)
    with django_assert_max_num_queries(30) as few:
        html(client, url(image))
    for number in range(20):
        finding = FindingFactory(prediction=run, position=number + 20, probability=0.1)
        HeatMapFactory(finding=finding)

    with django_assert_max_num_queries(len(few.captured_queries)):
        html(client, url(image))


def test_the_auditor_sees_neither_image_nor_findings() -> None:
    image = study_with_image()
    run = read(image, Tuberculosis=0.8)
    auditor = person(user=UserFactory(role=Role.AUDITOR))

    page = html(auditor, url(image))

    assert "Tuberculosis" not in page
    assert "/images/" not in page
    assert auditor.get(f"/images/{image.pk}/0.png").status_code == 403
    finding = run.findings.first()
    assert auditor.get(f"/findings/{finding.pk}/layer.png").status_code == 403


@pytest.mark.parametrize(
    ("values", "marker"),
    [(["L", "F"], "R"), (["P", "F"], "A"), (["R", "F"], "L"), ([], ""), (["?"], "")],
)
def test_the_side_is_named_only_where_the_header_names_it(
    values: list[str], marker: str
) -> None:
    header = {"00200020": {"vr": "CS", "Value": values}} if values else {}

    assert left_marker(header) == marker


def test_an_image_is_a_grey_png_and_viewing_it_is_audited(client: Client) -> None:
    pixels = np.zeros((64, 48), np.uint16)
    pixels[:, 24:] = 65535
    image = stored_image(pixels)

    answer = client.get(f"/images/{image.pk}/0.png?size=32")

    assert answer["Content-Type"] == "image/png"
    picture = cv2.imdecode(
        np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert picture.shape == (32, 24)
    assert (picture[0, 0], picture[0, -1]) == (0, 255)
    event = AuditEvent.objects.get(object_kind="instance")
    assert event.object_uuid == image.pk
    assert client.get(f"/images/{image.pk}/1.png").status_code == 404
    assert client.get(f"/images/{image.pk}/0.png?size=9").status_code == 400


def test_a_heat_map_layer_is_transparent_outside_the_crop(
    client: Client,
) -> None:
    run = read(study_with_image(), Tuberculosis=0.8)
    finding = run.findings.get(label="Tuberculosis")

    answer = client.get(f"/findings/{finding.pk}/layer.png")

    layer = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert layer.shape == (64, 48, 4)
    # The factory's geometry crops 8 rows off at the top and at the bottom.
    assert not layer[:8, :, 3].any()
    assert not layer[56:, :, 3].any()
    assert layer[50, 47, 3] > 150
    assert AuditEvent.objects.filter(object_uuid=finding.pk).count() == 1


def test_several_models_are_listed_with_the_default_first(
    client: Client,
) -> None:
    image = study_with_image()
    other = PredictionFactory(
        instance=image,
        model_version=installed_model("another-model"),
        succeeded=True,
    )
    FindingFactory(prediction=other, label="Nodule", probability=0.9, calibrated=True)
    read(image, Tuberculosis=0.8)

    page = html(client, url(image))

    assert re.findall(r"Findings by ([\w-]+)", page) == [
        DEFAULT_MODEL,
        "another-model",
    ]
    assert "score · threshold" in page
    assert "probability · threshold" in page


def test_the_page_says_when_analysis_is_delayed(client: Client) -> None:
    image = study_with_image()
    run = waiting(image)
    assert "Analysis delayed since" not in html(client, "/")

    Prediction.objects.filter(pk=run.pk).update(
        queued_at=run.queued_at - timedelta(minutes=5),
        not_before=run.queued_at - timedelta(minutes=5),
    )

    assert "Analysis delayed since" in html(client, "/")
    assert "Analysis delayed since" in html(client, url(image))


def test_the_page_says_that_the_workers_are_busy(client: Client) -> None:
    run = waiting(study_with_image())
    before = run.queued_at - timedelta(minutes=5)
    Prediction.objects.filter(pk=run.pk).update(queued_at=before, not_before=before)
    busy = PredictionFactory(model_version=run.model_version, priority=Priority.STAT)
    assert claim("worker-1")[0].prediction_id == busy.pk

    page = html(client, "/")

    assert "The workers are busy" in page
    assert "Analysis delayed since" not in page


def test_models_that_fail_for_the_same_reason_are_told_once(client: Client) -> None:
    image = study_with_image()
    for name in (DEFAULT_MODEL, "another-model"):
        PredictionFactory(
            instance=image,
            model_version=installed_model(name),
            failed=True,
            reason_code="unreadable_pixels",
            reason="",
            reason_message="prediction.unreadable_pixels",
        )

    page = html(client, url(image))

    assert page.count("the file may be damaged") == 1
    assert "2 models could not analyse this image" in page
    assert "Try another-model again" in page


def with_annotations() -> Instance:
    """Return a stored image with an overlay plane that draws its first row."""
    dataset = dicom_image()
    rows, columns = dataset.Rows, dataset.Columns
    mask = np.zeros((rows, columns), bool)
    mask[0] = True
    data = np.packbits(mask.reshape(-1), bitorder="little").tobytes()
    dataset.add_new((0x6000, 0x10), "US", rows)
    dataset.add_new((0x6000, 0x11), "US", columns)
    dataset.add_new((0x6000, 0x50), "SS", [1, 1])
    dataset.add_new((0x6000, 0x100), "US", 1)
    dataset.add_new((0x6000, 0x3000), "OW", data + b"\0" * (len(data) % 2))
    instance = send(written(dataset)).instance
    assert instance is not None
    return instance


def test_annotations_are_a_layer_that_can_be_switched_off(client: Client) -> None:
    instance = with_annotations()
    page = html(client, url(instance))
    address = reverse("annotations", args=[instance.pk, 0])
    assert f'src="{address}"' in page
    assert "data-annotate" in page
    answer = client.get(address)
    layer = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert layer[0, :, 3].min() == 255
    assert layer[2:, :, 3].max() == 0
    event = AuditEvent.objects.filter(object_uuid=instance.pk).latest("at")
    assert event.detail == {"frame": 0, "annotations": True}


def test_an_image_without_overlay_planes_offers_no_annotations(client: Client) -> None:
    assert "data-annotate" not in html(client, url(stored_image()))
