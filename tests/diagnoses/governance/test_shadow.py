"""A model in shadow reads every image that fits; readers do not see its results."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.test import Client

from accounts.access import Action
from accounts.models import Role
from accounts.tokens import issue_token
from diagnoses.governance.transitions import Decision, activate
from diagnoses.latest_runs import latest_runs, latest_shadow_runs
from diagnoses.leases import claim
from diagnoses.models import Finding, ModelVersion, Prediction, WorklistEntry
from diagnoses.runs import fail, queue_predictions
from diagnoses.signals import prediction_finished
from diagnoses.worker.read import LoadedModels, read_claimed
from diagnoses.worker.reproduction import Verdict, reproduce
from diagnoses.worker.retries import retry_prediction
from diagnoses.worker.sweeper import analysis_delay
from diagnoses.worklist import refresh_entry
from patients.models import Instance, Priority
from tests.clients import html, person, program
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import (
    card_json,
    header,
    image_row,
    installed_model,
    stored_image,
)
from tests.factories import ModelVersionFactory, StudyFactory, UserFactory

READERS = (Role.RADIOLOGIST, Role.CLINICIAN, Role.TECHNOLOGIST, Role.INTEGRATION)
NAME = DEFAULT_MODEL


@pytest.fixture
def shadow_model(chest_model: ModelVersion) -> ModelVersion:
    """Return the next version of the default model, in shadow."""
    made: ModelVersion = ModelVersionFactory(
        name=NAME,
        version="2-in-shadow",
        state="shadow",
        card=card_json(NAME) | {"version": "2-in-shadow"},
    )
    return made


@pytest.fixture
def read_image(shadow_model: ModelVersion, models: LoadedModels) -> Instance:
    """Return an image that the active model and the one in shadow have read."""
    image = stored_image()
    queue_predictions(image)
    for claimed in claim("worker-1", count=2):
        assert read_claimed(claimed, models=models)
    assert Prediction.objects.filter(status="succeeded").count() == 2
    return image


def shadow_run(image: Instance) -> Prediction:
    return Prediction.objects.get(instance=image, shadow=True)


def test_a_shadow_model_reads_every_matching_image(
    shadow_model: ModelVersion,
) -> None:
    installed_model("other-net")
    installed_model("brain-net", state="shadow", modalities=["MR"], body_parts=["HEAD"])
    rows = queue_predictions(image_row(), requested_model="other-net")
    assert [(row.model_version.name, row.shadow) for row in rows] == [
        ("other-net", False),
        (NAME, True),
    ]
    image = image_row(header=header(Modality="MR", BodyPartExamined="HEAD"))
    refused, in_shadow = queue_predictions(image)
    assert (refused.reason_code, refused.shadow) == ("wrong_modality", False)
    assert (in_shadow.model_version.name, in_shadow.shadow) == ("brain-net", True)


def test_a_picture_for_a_named_model_gets_no_shadow_run(
    shadow_model: ModelVersion,
) -> None:
    installed_model("brain-net", modalities=["MR"], body_parts=["HEAD"])
    picture = image_row(header=header(Modality="OT", BodyPartExamined=""), picture=True)
    [row] = queue_predictions(picture, requested_model="brain-net")
    assert row.model_version.name == "brain-net"


def test_shadow_runs_are_claimed_after_other_runs(
    shadow_model: ModelVersion,
) -> None:
    stat = image_row(series__study=StudyFactory(priority=Priority.STAT))
    queue_predictions(stat)
    routine = image_row()
    queue_predictions(routine)
    # One by one: the rows of one claim come back in no order.
    claims = [claim("worker-1")[0] for _ in range(4)]
    order = [Prediction.objects.get(pk=one.prediction_id) for one in claims]
    assert [run.shadow for run in order] == [False, False, True, True]


def test_the_worklist_never_shows_shadow_results(read_image: Instance) -> None:
    entry = WorklistEntry.objects.get()
    assert entry.prediction == Prediction.objects.get(shadow=False)
    other = installed_model("shadow-only", state="shadow")
    image = image_row()
    Prediction.objects.create(instance=image, model_version=other, shadow=True)
    refresh_entry(image.series.study_id)
    entry = WorklistEntry.objects.get(study=image.series.study_id)
    assert (entry.images_waiting, entry.status, entry.finding) == (0, "rejected", None)
    assert analysis_delay() is None


def test_no_signal_is_sent_for_a_finished_shadow_run(
    shadow_model: ModelVersion, models: LoadedModels
) -> None:
    finished: list[Prediction] = []

    def listen(prediction: Prediction, **_: object) -> None:
        finished.append(prediction)

    prediction_finished.connect(listen)
    try:
        queue_predictions(stored_image())
        for claimed in claim("worker-1", count=2):
            read_claimed(claimed, models=models)
    finally:
        prediction_finished.disconnect(listen)
    assert [run.shadow for run in finished] == [False]


@pytest.mark.slow
@pytest.mark.parametrize("role", READERS)
def test_pages_of_readers_show_no_shadow_results(
    read_image: Instance, role: Role
) -> None:
    hidden = shadow_run(read_image)
    study = read_image.series.study_id
    client = person(role)
    pages = (
        "/",
        "/?q=family",
        "/?show=flagged",
        f"/studies/{study}/?image={read_image.pk}",
        f"/studies/{study}/results/?image={read_image.pk}",
        f"/patients/{read_image.series.study.patient_id}/",
    )
    marks = [str(hidden.pk), hidden.model_version.version, "shadow"]
    marks += [str(finding.pk) for finding in hidden.findings.all()]
    for path in pages:
        page = client.get(path).content.decode().casefold()
        assert not any(mark in page for mark in marks), path
    finding = hidden.findings.first()
    assert client.get(f"/findings/{finding.pk}/layer.png").status_code == 404
    assert client.get("/models/compare/").status_code == 403
    assert client.post(f"/predictions/{hidden.pk}/retry/").status_code in (403, 404)


@pytest.mark.slow
@pytest.mark.parametrize("role", READERS)
def test_rest_shows_readers_no_shadow_results(read_image: Instance, role: Role) -> None:
    hidden = shadow_run(read_image)
    assert_hidden_in_rest(program(role), hidden)


def assert_hidden_in_rest(client: Client, hidden: Prediction) -> None:
    queries = (
        "",
        f"?study={hidden.instance.series.study_id}",
        "?shadow=true",
        f"?version={hidden.model_version.version}",
        "?positive=Bacterial pneumonia",
    )
    for query in queries:
        content = client.get(f"/api/v1/predictions/{query}").content.decode()
        assert str(hidden.pk) not in content, query
    own = f"/api/v1/predictions/{hidden.pk}/"
    for answer in (
        client.get(own),
        client.get(f"{own}heatmap/"),
        client.post(f"{own}retry/"),
    ):
        assert answer.status_code in (403, 404)
    compare = "/api/v1/models/compare/?first=x&second=y"
    assert client.get(compare).status_code == 403


def test_a_token_of_an_administrator_needs_the_scope_to_see_shadow_results(
    read_image: Instance,
) -> None:
    chief = UserFactory(role=Role.ADMIN)
    hidden = shadow_run(read_image)
    seen = program(user=chief).get(f"/api/v1/predictions/{hidden.pk}/").json()
    assert (seen["shadow"], seen["version"]) == (True, "2-in-shadow")
    scopes = [Action.READ_RESULTS, Action.READ_IMAGES]
    _, text = issue_token(chief, scopes=scopes)
    assert_hidden_in_rest(Client(headers={"Authorization": f"Token {text}"}), hidden)


def test_latest_runs_never_include_shadow_runs(read_image: Instance) -> None:
    runs = latest_runs([read_image.pk])[read_image.pk]
    assert [run.shadow for run in runs] == [False]
    assert [run.shadow for run in latest_shadow_runs(read_image.pk)] == [True]


def test_administrators_see_shadow_results_marked_and_last_on_the_study(
    read_image: Instance,
) -> None:
    study = read_image.series.study_id
    page = html(person(Role.ADMIN), f"/studies/{study}/")
    assert "Readers do not see this result" in page
    assert page.index(f"{NAME} 1") < page.index(f"{NAME} 2-in-shadow")
    # It lays no heat map over the image unless somebody asks for it.
    layer = page.split('aria-current="true"')[0].rsplit("data-layer-url", 1)[1]
    finding = UUID(layer.split("/findings/")[1].split("/")[0])
    assert not Finding.objects.get(pk=finding).prediction.shadow


def test_shadow_results_stay_hidden_after_activation(
    read_image: Instance, shadow_model: ModelVersion
) -> None:
    activate(
        shadow_model,
        decision=Decision(None, "agrees", "command"),
        without_acceptance="tests",
    )
    assert [run.shadow for run in latest_runs([read_image.pk])[read_image.pk]] == [
        False
    ]
    [again] = queue_predictions(read_image, requested_model=NAME, created=False)
    assert (again.model_version, again.shadow, again.run) == (shadow_model, False, 2)


def test_a_failed_shadow_run_is_retried_in_shadow(
    shadow_model: ModelVersion,
) -> None:
    installed = ModelVersion.objects.exclude(pk=shadow_model.pk)
    installed.update(state="retired")
    queue_predictions(image_row())
    [claimed] = claim("worker-1")
    fail(claimed, reason_code="worker_lost")
    again = retry_prediction(
        Prediction.objects.get(pk=claimed.prediction_id), actor=None
    )
    assert (again.shadow, again.run) == (True, 2)


def test_a_shadow_run_can_be_reproduced(
    read_image: Instance, models: LoadedModels
) -> None:
    for run in Prediction.objects.all():
        assert reproduce(run, models=models).verdict == Verdict.AGREE
