"""Reasons of refused uploads and rejected runs: sentences for the reader."""

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Role
from diagnoses.messages import LATERAL_VIEW_UNNAMED
from diagnoses.models import Prediction
from patients.messages import NOT_AN_IMAGE
from patients.models import Upload
from tests.clients import html, person
from tests.diagnoses.fakes import installed_model
from tests.diagnoses.pages.page_rows import study_with_image
from tests.factories import PredictionFactory, UploadFactory

pytestmark = pytest.mark.django_db


def _refused(**columns: object) -> Upload:
    return UploadFactory(
        outcome=Upload.Outcome.REFUSED, instance=None, reason_code="x", **columns
    )


def test_an_upload_has_its_reason_in_the_language_of_the_reader(brackets: None) -> None:
    upload = _refused(reason_message=NOT_AN_IMAGE.code)

    client = person(Role.ADMIN)
    shown = client.get(f"/api/v1/uploads/{upload.pk}/").json()
    page = html(client, "/admin/patients/upload/")
    change = html(client, f"/admin/patients/upload/{upload.pk}/change/")

    assert upload.reason == ""
    assert shown["reason"].startswith("⟦")
    assert shown["reason"] in page
    assert shown["reason"] in change


def test_an_upload_with_a_stored_sentence_shows_it() -> None:
    upload = _refused(reason="The file is empty, as it was.")

    shown = person(Role.ADMIN).get(f"/api/v1/uploads/{upload.pk}/").json()

    assert shown["reason"] == "The file is empty, as it was."


def test_a_prediction_has_its_reason_in_the_language_of_the_reader(
    brackets: None,
) -> None:
    run = PredictionFactory(
        instance=study_with_image(),
        model_version=installed_model(),
        status=Prediction.Status.REJECTED,
        finished_at=timezone.now(),
        reason_code="lateral_view",
        reason_message=LATERAL_VIEW_UNNAMED.code,
    )

    client = person(Role.ADMIN)
    shown = client.get(reverse("prediction-detail", args=[run.pk])).json()
    page = html(client, "/admin/diagnoses/prediction/")
    change = client.get(
        f"/admin/diagnoses/prediction/{run.pk}/change/"
    ).content.decode()

    sentence = "⟦The view is lateral; the model reads frontal views.⟧"
    assert shown["reason"] == sentence
    assert sentence in page
    assert sentence in change
