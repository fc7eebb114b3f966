"""Triggers refuse changes to finished results."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from diagnoses.leases import Claimed
from diagnoses.models import Finding, HeatMap, OperatingPoint, Prediction
from diagnoses.worker.read import LoadedModels, read_claimed
from tests.owner import by_owner

KEPT = (Prediction, Finding, HeatMap, OperatingPoint)
CHANGES: dict[type[Model], dict[str, object]] = {
    Prediction: {"priority": 2},
    Finding: {"probability": 0.99},
    HeatMap: {"scale": 9.0},
    OperatingPoint: {"value": 0.9},
}


@pytest.fixture
def finished(claimed: Claimed, models: LoadedModels) -> Claimed:
    assert read_claimed(claimed, models=models)
    return claimed


def assert_refused(change: Callable[[], object]) -> None:
    """Even to the owner of the tables, who has the right to change them."""
    refused = pytest.raises(IntegrityError, match="never changed")
    with refused, transaction.atomic(), by_owner():
        change()


@pytest.mark.parametrize("model", KEPT, ids=lambda model: model.__name__)
def test_a_result_cannot_be_updated(finished: Claimed, model: type[Model]) -> None:
    assert model.objects.exists()
    assert_refused(lambda: model.objects.update(**CHANGES[model]))


@pytest.mark.parametrize("model", KEPT, ids=lambda model: model.__name__)
def test_a_result_cannot_be_deleted(finished: Claimed, model: type[Model]) -> None:
    table = connection.ops.quote_name(model._meta.db_table)

    def delete() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table

    assert_refused(delete)


def test_a_waiting_row_can_be_updated_but_not_deleted(queued: Prediction) -> None:
    assert Prediction.objects.filter(pk=queued.pk).update(priority=2) == 1
    assert_refused(lambda: Prediction.objects.filter(pk=queued.pk).delete())


@pytest.mark.django_db(transaction=True)
def test_the_permission_to_erase_ends_with_its_transaction(
    claimed: Claimed, models: LoadedModels
) -> None:
    read_claimed(claimed, models=models)
    heat_maps = HeatMap.objects.all()
    with transaction.atomic(), by_owner():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('chestx.erasure', 'on', true)")
        heat_maps.filter(finding__position=0).delete()
    assert heat_maps.exists()
    assert_refused(heat_maps.delete)


def test_the_permission_to_erase_does_not_allow_updates(finished: Claimed) -> None:
    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('chestx.erasure', 'on', true)")
        Finding.objects.update(probability=0.99)

    assert_refused(change)
