"""A record of 200,000 made-up studies: what fills it, and that lists use indexes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import DjangoDbBlocker

from accounts.models import Department, Role
from chestx_site.benchmarks import records
from diagnoses.models import Finding, ModelVersion, Prediction, WorklistEntry
from patients.models import Patient, Study
from patients.search import patients_found, studies_found
from tests.chestx_site.query_plans import (
    Plans,
    admin_addresses,
    ask,
    rest_addresses,
    worklist_addresses,
)
from tests.clients import person, program
from tests.diagnoses.fakes import installed_model
from tests.factories import InstanceFactory, UserFactory

pytestmark = pytest.mark.slow

STUDIES = 200_000
SEARCHES = [
    "m",
    "mu",
    "mue",
    "müller johanna",
    "MUELLER, J",
    "uller",
    "1961-04-05",
    "4/5/1961",
    "MRN-00000011",
    "00011",
    "acc",
    "zzzz",
    "%",
]


@pytest.fixture(scope="module")
def _filled(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Fill the database once, and empty it at the end."""
    with django_db_blocker.unblock():
        UserFactory()
        installed_model()
        records.fill(STUDIES, lambda sentence: None)
        yield
        call_command("flush", "--no-input", verbosity=0)


@pytest.fixture
def plans(_filled: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Plans]:
    """Return the plans of the filled database; what a test writes stays until then."""
    with django_db_blocker.unblock():
        yield Plans.of_database()


def admin_client() -> Client:
    return person(Role.ADMIN)


def small_departments() -> list[Department]:
    """Return the two smallest departments: one and three per cent of the studies."""
    return list(
        Department.objects.filter(code__in=["occupational-health", "paediatrics"])
    )


def test_every_table_is_filled_and_can_be_searched(plans: Plans) -> None:
    assert Study.objects.count() == WorklistEntry.objects.count() == STUDIES
    assert Patient.objects.count() == STUDIES // records.STUDIES_A_PATIENT
    assert set(Prediction.objects.order_by().values_list("status").distinct()) == {
        ("succeeded",),
        ("rejected",),
        ("failed",),
        ("queued",),
    }
    succeeded = Prediction.objects.filter(status="succeeded").count()
    labels = ModelVersion.objects.get().card["labels"]
    assert Finding.objects.count() == len(labels) * succeeded
    words = records.some_words()
    for word in (*words["names"][:9], *words["identifiers"][:9]):
        assert patients_found(word).keys, word
    for number in words["accession_numbers"][:9]:
        assert len(studies_found(number).keys) == 1


def test_the_worklist_uses_indexes(plans: Plans) -> None:
    addresses = worklist_addresses(SEARCHES)
    ask(admin_client(), addresses, plans)
    ask(person(user=UserFactory(departments=small_departments())), addresses, plans)
    assert not plans.faults


def test_the_lists_of_the_admin_use_indexes(plans: Plans) -> None:
    client = admin_client()
    ask(client, admin_addresses(client, SEARCHES), plans)
    assert not plans.faults


def test_the_rest_lists_use_indexes(plans: Plans) -> None:
    ask(program(Role.ADMIN), rest_addresses(SEARCHES), plans)
    assert not plans.faults


def test_pages_of_a_study_and_a_patient_use_indexes(plans: Plans) -> None:
    words = records.some_words()
    addresses = [f"/studies/{key}/" for key in words["studies"][:3]]
    addresses += [f"/patients/{key}/" for key in words["patients"][:3]]
    ask(admin_client(), addresses, plans)
    assert not plans.faults


@pytest.mark.django_db
def test_a_record_with_images_of_patients_is_not_filled() -> None:
    InstanceFactory(synthetic=False)
    with pytest.raises(CommandError, match="made-up"):
        call_command("fill_record", "10")
