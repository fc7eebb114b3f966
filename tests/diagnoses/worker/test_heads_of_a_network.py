"""The worker with real heads of one network: one pass an image for all of them."""

from __future__ import annotations

import pytest

from diagnoses import tasks
from diagnoses.governance.versions import card_of
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels
from ml.inference import LoadedModel
from patients.models import Instance
from tests.diagnoses.fakes import card_json
from tests.factories import ModelVersionFactory
from tests.ml.inference.test_read_together import SHA256, CountingRunner

COLUMNS = {"chestx6-resnet50": ("A", "B", "C"), "one-head": ("Pneumonia",)}


def test_the_heads_of_a_network_share_one_pass(
    db: None, image: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = 0
    for name, labels in COLUMNS.items():
        card = card_json(name) | {
            "labels": [{"name": n, "display": n, "snomed": "1"} for n in labels],
            "thresholds": {"values": dict.fromkeys(labels, 0.5)},
            "backbone": {
                "name": "net",
                "version": "1.0.0",
                "columns": [begin, begin + len(labels)],
            },
            "weights": {"file": "../../net/1.0.0/weights.keras", "sha256": SHA256},
        }
        ModelVersionFactory(name=name, card=card, weights_sha256=SHA256)
        begin += len(labels)
    network = CountingRunner()

    def load(model_version: ModelVersion) -> LoadedModel:
        return LoadedModel(card_of(model_version), network, sha256=SHA256)

    monkeypatch.setattr(tasks, "models", LoadedModels(loader=load))
    queue_predictions(image)
    for _ in COLUMNS:
        tasks.run_next()
    assert network.passes == 1
    assert {row.status for row in Prediction.objects.all()} == {"succeeded"}
    assert Finding.objects.count() == HeatMap.objects.count() == 4
    for name, labels in COLUMNS.items():
        found = Finding.objects.filter(prediction__model_version__name=name)
        assert tuple(found.values_list("label", flat=True)) == labels
