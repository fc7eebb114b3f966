"""Predictions and models over REST: results, heat maps, retries, cards."""

import json
import uuid
from typing import Any

import cv2
import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent, Role
from diagnoses.models import Finding, ModelVersion, Prediction
from diagnoses.worklist import refresh_entry
from tests.clients import program
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json, stored_image
from tests.factories import (
    DepartmentFactory,
    FindingFactory,
    HeatMapFactory,
    PredictionFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db
URL = "/api/v1/predictions/"


def _read(**values: Any) -> Prediction:
    """Return a run that ended well, with two findings and their heat maps."""
    prediction: Prediction = PredictionFactory(succeeded=True, **values)
    for position, (label, value) in enumerate(
        [("Normal", 0.1), ("Bacterial pneumonia", 0.9)]
    ):
        finding = FindingFactory(
            prediction=prediction, position=position, label=label, probability=value
        )
        HeatMapFactory(finding=finding)
    return prediction


def _events() -> list[AuditEvent]:
    return list(AuditEvent.objects.exclude(action="sign_in").order_by("at"))


def test_a_result_has_the_documented_keys(chest_model: ModelVersion) -> None:
    prediction = _read(model_version=chest_model)
    body = program().get(f"{URL}{prediction.pk}/").json()
    assert body["id"] == str(prediction.pk)
    assert body["status"] == "succeeded"
    assert (body["reason_code"], body["reason"]) == ("", "")
    assert (body["model"], body["version"]) == (DEFAULT_MODEL, "1")
    assert body["findings"] == [
        {
            "label": label,
            "probability": value,
            "calibrated": False,
            "threshold": 0.5,
            "threshold_source": "card",
            "positive": value >= 0.5,
            "accuracy_claimed": True,
            "flagged": value >= 0.5,
            "certainty": "",
        }
        for label, value in [("Normal", 0.1), ("Bacterial pneumonia", 0.9)]
    ]
    assert body["heatmap"] == f"http://testserver{URL}{prediction.pk}/heatmap/"
    study = prediction.instance.series.study
    assert (body["study"], body["patient"]) == (str(study.pk), str(study.patient_id))


def test_a_result_names_its_use_and_its_limits(
    chest_model: ModelVersion,
) -> None:
    client = program()
    body = client.get(f"{URL}{_read(model_version=chest_model).pk}/").json()
    assert body["notice"] == "Decision support, not for diagnosis."
    card = client.get(body["model_url"]).json()["card"]
    assert "limits" in card


def test_an_image_without_a_matching_model_has_a_reason() -> None:
    prediction = PredictionFactory(
        failed=True, status="rejected", model_version=None, reason_code="no_model"
    )
    body = program().get(f"{URL}{prediction.pk}/").json()
    assert (body["status"], body["reason_code"]) == ("rejected", "no_model")
    assert body["model"] is body["version"] is body["heatmap"] is None
    assert body["findings"] == []


def test_polling_is_not_audited_and_a_result_is() -> None:
    client, waiting, ended = program(), PredictionFactory(), _read()
    answer = client.get(f"{URL}{waiting.pk}/")
    assert _events() == []
    assert answer.json()["status"] == "queued"
    assert str(waiting.instance.series.study.patient_id).encode() not in answer.content
    client.get(f"{URL}{ended.pk}/")
    (event,) = _events()
    assert (event.action, event.object_kind) == ("view", "prediction")
    assert (event.object_uuid, event.actor_uuid) == (ended.pk, client.user.pk)
    assert [s.patient_uuid for s in event.subjects.all()] == [
        ended.instance.series.study.patient_id
    ]


def test_a_list_is_audited_once_with_every_patient_on_the_page() -> None:
    runs = [_read() for _ in range(3)]
    client = program()
    listed = client.get(f"{URL}?page_size=2").json()["results"]
    (event,) = _events()
    assert event.detail == {"rows": 2, "parameters": ["page_size"]}
    shown = {uuid.UUID(row["patient"]) for row in listed}
    assert {s.patient_uuid for s in event.subjects.all()} == shown
    assert len(shown) == 2 < len(runs)


def test_a_list_makes_the_same_number_of_queries_for_any_rows() -> None:
    client = program()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(URL).status_code == 200
        assert not any("heatmap" in query["sql"] for query in captured)
        return len(captured)

    _read()
    for_one = queries()
    for _ in range(5):
        _read()
    assert queries() == for_one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=succeeded", {"read"}),
        ("status=succeeded&status=failed", {"read", "failed"}),
        ("status=queued", {"waiting"}),
        (f"model={DEFAULT_MODEL}", {"read", "failed", "waiting"}),
        ("model=another", set()),
        ("positive=Bacterial pneumonia", {"read"}),
        ("positive=Normal", set()),
        ("reason_code=worker_lost", {"failed"}),
        ("priority=stat", {"waiting"}),
    ],
)
def test_runs_can_be_filtered(query: str, expected: set[str]) -> None:
    runs = {
        "read": _read(),
        "failed": PredictionFactory(failed=True),
        "waiting": PredictionFactory(priority=2),
    }
    names = {str(run.pk): name for name, run in runs.items()}
    listed = program().get(f"{URL}?{query}").json()["results"]
    assert {names[row["id"]] for row in listed} == expected


def test_runs_can_be_filtered_by_study_and_patient() -> None:
    run, _ = _read(), _read()
    study = run.instance.series.study
    for query in (
        f"study={study.pk}",
        f"patient={study.patient_id}",
        f"instance={run.instance_id}",
    ):
        listed = program().get(f"{URL}?{query}").json()["results"]
        assert [row["id"] for row in listed] == [str(run.pk)]


def test_results_of_other_departments_are_404() -> None:
    run = _read()
    stranger = program(
        user=UserFactory(departments=[DepartmentFactory(code="emergency")])
    )
    assert stranger.get(URL).json()["results"] == []
    for way in ("", "heatmap/"):
        assert stranger.get(f"{URL}{run.pk}/{way}").status_code == 404
    assert stranger.post(f"{URL}{run.pk}/retry/").status_code == 404
    for wrong in (uuid.uuid4(), "nonsense"):
        answer = stranger.get(f"{URL}{wrong}/")
        assert answer.status_code == 404
        assert answer.json()["reason_code"] == "not_found"


class TestHeatMap:
    """/heatmap/: a PNG of the image with the heat map of one label."""

    @pytest.fixture
    def run(self) -> Prediction:
        return _read(instance=stored_image())

    def _picture(self, content: bytes) -> np.ndarray:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        return pixels

    @pytest.mark.parametrize("accept", ["*/*", "image/png", "application/json"])
    def test_a_heat_map_is_a_png_of_the_size_of_the_image(
        self, run: Prediction, accept: str
    ) -> None:
        answer = program().get(f"{URL}{run.pk}/heatmap/", headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "image/png"
        assert "no-store" in answer.headers["Cache-Control"]
        assert self._picture(answer.content).shape == (64, 48, 3)

    def test_the_size_parameter_limits_the_longest_side(self, run: Prediction) -> None:
        answer = program().get(f"{URL}{run.pk}/heatmap/?size=32")
        assert self._picture(answer.content).shape == (32, 24, 3)

    def test_a_heat_map_is_of_the_requested_label_or_of_the_highest(
        self, run: Prediction
    ) -> None:
        client = program()
        client.get(f"{URL}{run.pk}/heatmap/")
        client.get(f"{URL}{run.pk}/heatmap/?label=Normal")
        first, second = _events()
        assert first.detail == {"label": "Bacterial pneumonia"}
        assert second.detail == {"label": "Normal"}
        assert second.subjects.count() == 1

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("label=Broken rib", "label"),
            ("size=0", "size"),
            ("size=31", "size"),
            ("size=5000", "size"),
            ("size=1e3", "size"),
            ("size=", "size"),
        ],
    )
    def test_the_error_names_an_invalid_parameter(
        self, run: Prediction, query: str, field: str
    ) -> None:
        answer = program().get(f"{URL}{run.pk}/heatmap/?{query}")
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == [field]

    def test_a_run_without_findings_has_no_heat_map(self) -> None:
        waiting = PredictionFactory()
        answer = program().get(
            f"{URL}{waiting.pk}/heatmap/", headers={"Accept": "image/png"}
        )
        assert answer.status_code == 404
        assert json.loads(answer.content)["reason_code"] == "no_heat_map"

    def test_an_auditor_sees_no_heat_map(self, run: Prediction) -> None:
        assert program(Role.AUDITOR).get(f"{URL}{run.pk}/heatmap/").status_code == 403


class TestRetry:
    """/retry/: another run of what failed."""

    @pytest.fixture
    def failed(self, chest_model: ModelVersion) -> Prediction:
        run: Prediction = PredictionFactory(failed=True, model_version=chest_model)
        refresh_entry(run.instance.series.study_id)
        return run

    def test_a_retry_queues_a_new_run_and_is_audited(self, failed: Prediction) -> None:
        client = program()
        answer = client.post(f"{URL}{failed.pk}/retry/")
        assert answer.status_code == 202
        again = Prediction.objects.get(pk=answer.json()["id"])
        assert (again.run, again.status) == (2, "queued")
        assert again.requested_by == client.user
        (event,) = _events()
        assert (event.action, event.object_uuid) == ("retry", again.pk)
        assert event.subjects.count() == 1

    def test_a_second_retry_is_a_conflict(self, failed: Prediction) -> None:
        client = program()
        client.post(f"{URL}{failed.pk}/retry/")
        answer = client.post(f"{URL}{failed.pk}/retry/")
        assert answer.status_code == 409
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_a_retry_of_a_run_that_has_not_failed_is_a_conflict(self) -> None:
        assert program().post(f"{URL}{_read().pk}/retry/").status_code == 409

    def test_a_clinician_may_not_retry(self, failed: Prediction) -> None:
        answer = program(Role.CLINICIAN).post(f"{URL}{failed.pk}/retry/")
        assert answer.status_code == 403

    def test_a_retry_that_cannot_be_audited_queues_nothing(
        self, failed: Prediction, broken_trail: None
    ) -> None:
        assert program().post(f"{URL}{failed.pk}/retry/").status_code == 503
        assert Prediction.objects.count() == 1


def test_predictions_are_read_only(chest_model: ModelVersion) -> None:
    client, run = program(Role.ADMIN), _read(model_version=chest_model)
    for method in (client.put, client.patch, client.delete, client.post):
        assert method(f"{URL}{run.pk}/").status_code == 405
        assert method(f"/api/v1/models/{DEFAULT_MODEL}/").status_code == 405
    assert Finding.objects.count() == 2


def test_models_and_cards_are_visible_to_roles_without_patients(
    chest_model: ModelVersion,
) -> None:
    client = program(Role.DATA_SCIENTIST)
    (listed,) = client.get("/api/v1/models/").json()["results"]
    assert (listed["name"], listed["state"]) == (DEFAULT_MODEL, "active")
    one = client.get(f"/api/v1/models/{DEFAULT_MODEL}/").json()
    assert one["card"]["name"] == DEFAULT_MODEL
    assert client.get("/api/v1/models/no-such-model/").status_code == 404
    for closed in (
        "patients",
        "studies",
        "series",
        "instances",
        "predictions",
        "uploads",
    ):
        assert client.get(f"/api/v1/{closed}/").status_code == 403


def test_a_model_name_stands_for_its_active_version() -> None:
    versions = [
        ModelVersion.objects.create(
            name="m",
            version=version,
            weights_sha256="a" * 64,
            card=card_json("m"),
            state=state,
        )
        for version, state in [("1", "active"), ("2", "installed")]
    ]
    assert program().get("/api/v1/models/m/").json()["version"] == "1"
    ModelVersion.objects.filter(pk=versions[0].pk).update(state="retired")
    assert program().get("/api/v1/models/m/").json()["version"] == "2"
