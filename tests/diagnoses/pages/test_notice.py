"""Every result stands beside the decision-support notice and a link to limits."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from accounts.models import Role
from diagnoses.models import Prediction
from tests.clients import html, person
from tests.diagnoses.pages.page_rows import read, study_with_image

pytestmark = pytest.mark.django_db


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "worklist",
        "patient",
        "study",
        "upload",
        "admin:diagnoses_prediction_change",
        "admin:diagnoses_finding_changelist",
    ],
)
def test_pages_with_results_show_the_notice_and_a_link_to_the_limits(
    page: str,
) -> None:
    image = study_with_image()
    read(image, Tuberculosis=0.81)
    study = image.series.study
    keys = {
        "patient": study.patient_id,
        "study": study.pk,
        "admin:diagnoses_prediction_change": Prediction.objects.get().pk,
    }

    address = reverse(page, args=[keys[page]] if page in keys else [])
    shown = html(person(Role.ADMIN), address)

    assert "Decision support, not for diagnosis" in shown
    assert re.search(
        r'href="/models/[^"]*">\s*What (the|this) models? can and can', shown
    )
