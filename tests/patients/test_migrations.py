"""Migrations on a database with rows of the version before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from chestx_site.database.owner import as_owner
from chestx_site.database.privileges import grant_privileges
from patients.models import Study
from tests.dicom_factory import image_bytes
from tests.patients.sending import send

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
BEFORE_IDENTITY_WAS_KEPT = ("patients", "0005_names_for_people")


def migrate(*targets: tuple[str, str]) -> Any:
    """Migrate as the owner of the tables, and return the historical apps."""
    with as_owner():
        executor = MigrationExecutor(connection)
        executor.migrate(list(targets))
        grant_privileges(settings.DATABASES["default"]["USER"])
    return executor.loader.project_state(list(targets)).apps


@pytest.fixture
def newest() -> Iterator[list[tuple[str, str]]]:
    """Return the newest migrations, and go back to them at the end."""
    leaves = MigrationExecutor(connection).loader.graph.leaf_nodes()
    yield leaves
    migrate(*leaves)


def test_a_flagged_study_gets_its_received_identity_and_both_values(
    newest: list[tuple[str, str]],
) -> None:
    study = send(
        image_bytes(PatientName="Roe^John=山田^太郎", SpecificCharacterSet="ISO_IR 192")
    ).study
    former = migrate(BEFORE_IDENTITY_WAS_KEPT)
    former.get_model("patients", "Patient").objects.update(
        family_name="Doe", ideographic_name="", birth_date=date(1970, 2, 1)
    )
    former.get_model("patients", "Study").objects.update(
        flags=["demographics_mismatch"]
    )

    migrate(*newest)

    kept = Study.objects.get(pk=study.pk)
    assert kept.received_name == "Roe^John=山田^太郎"
    assert (kept.received_birth_date, kept.received_sex) == (date(1970, 1, 31), "M")
    assert {
        (one.attribute, one.received, one.recorded) for one in kept.discrepancies.all()
    } == {
        ("birth_date", "1970-01-31", "1970-02-01"),
        ("patient_name", "Roe^John=山田 太郎", "Doe^John"),
    }
