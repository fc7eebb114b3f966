"""The admin site: access, audit events, number of queries."""

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import (
    AuditChange,
    AuditEvent,
    AuditSubject,
    RefusalCount,
    Role,
    Token,
    User,
)
from accounts.tokens import issue_token
from diagnoses.models import Prediction
from diagnoses.worklist import refresh_entry
from patients.models import SearchText
from tests.clients import html, person
from tests.diagnoses.fakes import installed_model
from tests.factories import (
    PASSWORD,
    DepartmentFactory,
    FindingFactory,
    HeatMapFactory,
    InstanceFactory,
    PredictionFactory,
    UploadFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db
OURS = ("accounts", "patients", "diagnoses")


@pytest.fixture
def administrator() -> Client:
    return person(Role.ADMIN)


def _changelist(model: type) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _change(row: object) -> str:
    view = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return reverse(view, args=[row.pk])


def test_the_admin_site_has_no_sign_in_of_its_own() -> None:
    answer = Client().get("/admin/login/")
    assert answer.headers["Location"] == "/sign-in/?next=%2Fadmin%2Flogin%2F"
    user = UserFactory(role=Role.ADMIN)
    Client().post("/admin/login/", {"username": user.username, "password": PASSWORD})
    assert not AuditEvent.objects.filter(action="sign_in").exists()


def test_signing_out_of_the_admin_site_ends_the_session() -> None:
    client = person(Role.ADMIN)
    client.post("/admin/logout/", follow=True)
    assert client.get("/").status_code == 302
    assert AuditEvent.objects.filter(action="sign_out").count() == 1


def test_every_model_of_the_apps_is_registered() -> None:
    ours = {m for app in OURS for m in apps.get_app_config(app).get_models()}
    # The parts of an event are shown inside it; counts become events; search texts are
    # an index.
    shown_elsewhere = {AuditChange, AuditSubject, RefusalCount, SearchText}
    assert ours - set(admin.site._registry) == shown_elsewhere


def _fill() -> None:
    instance = InstanceFactory()
    prediction = PredictionFactory(
        succeeded=True, instance=instance, model_version=installed_model()
    )
    HeatMapFactory(finding=FindingFactory(prediction=prediction))
    UploadFactory(instance=instance)
    refresh_entry(instance.series.study_id)
    issue_token(UserFactory())


@pytest.mark.slow
def test_no_list_makes_a_query_per_row(administrator: Client) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert administrator.get(path).status_code == 200, path
        return len(captured)

    paths = [_changelist(m) for m in admin.site._registry if m._meta.app_label in OURS]
    _fill()
    for path in paths:  # contents of caches, and the first rows of the audit trail
        queries(path)
    few = {path: queries(path) for path in paths}
    for _ in range(4):
        _fill()
    many = {path: queries(path) for path in paths}
    assert many == few


@pytest.mark.slow
@pytest.mark.parametrize("term", ["x", "MRN-1", "%", "'", "2.25.1", " "])
def test_every_list_accepts_any_search_text(administrator: Client, term: str) -> None:
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label in OURS:
            answer = administrator.get(_changelist(model), {"q": term})
            assert answer.status_code == 200, model
            assert model_admin.search_fields, model


def test_a_run_is_found_by_its_key(administrator: Client) -> None:
    runs = [PredictionFactory() for _ in range(2)]
    page = administrator.get(_changelist(Prediction), {"q": str(runs[0].pk)})
    assert list(page.context["cl"].result_list) == [runs[0]]
    event = AuditEvent.objects.filter(action="search").get()
    assert event.object_kind == "prediction"
    assert event.subjects.count() == 1


def test_an_event_is_found_by_its_patient(administrator: Client) -> None:
    run = PredictionFactory()
    administrator.get(_change(run))
    patient = run.instance.series.study.patient
    page = administrator.get(_changelist(AuditEvent), {"q": str(patient.pk)})
    (event,) = page.context["cl"].result_list
    assert (event.action, event.object_uuid) == ("view", run.pk)


def test_the_history_of_a_row_shows_its_audit_events(administrator: Client) -> None:
    run = PredictionFactory()
    administrator.get(_change(run))
    history = administrator.get(
        reverse("admin:diagnoses_prediction_history", args=[run.pk]), follow=True
    )
    assert [e.object_uuid for e in history.context["cl"].result_list] == [run.pk]


@pytest.mark.parametrize("factory", [FindingFactory, PredictionFactory])
def test_results_are_read_only(administrator: Client, factory: type) -> None:
    row = factory()
    page = administrator.get(_change(row))
    assert page.status_code == 200
    assert not re.search(rb'name="_(save|continue|addanother)"', page.content)
    assert administrator.post(_change(row), {"label": "x"}).status_code == 403
    for view in ("add", "delete"):
        keys = [] if view == "add" else [row.pk]
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_{view}"
        assert administrator.get(reverse(name, args=keys)).status_code == 403


def test_failed_runs_can_be_retried_from_the_list(administrator: Client) -> None:
    failed = PredictionFactory(failed=True, model_version=installed_model())
    waiting = PredictionFactory()
    answer = administrator.post(
        _changelist(Prediction),
        {"action": "retry", "_selected_action": [failed.pk, waiting.pk]},
        follow=True,
    )
    messages = [str(message) for message in answer.context["messages"]]
    assert "1 run queued." in messages
    assert any(str(waiting.pk) in sentence for sentence in messages)
    assert Prediction.objects.filter(instance=failed.instance, run=2).exists()
    (event,) = AuditEvent.objects.filter(action="retry")
    assert event.source == "admin"


def test_a_new_user_gets_a_role_and_no_password_is_audited(
    administrator: Client,
) -> None:
    department = DepartmentFactory()
    password = "a-new-Password-of-tests-1"
    answer = administrator.post(
        reverse("admin:accounts_user_add"),
        {
            "username": "new-auditor",
            "usable_password": "true",
            "password1": password,
            "password2": password,
            "role": "auditor",
            "departments": [department.pk],
            "primary_department": department.pk,
        },
    )
    assert answer.status_code == 302, answer.context["errors"]
    user = User.objects.get(username="new-auditor")
    assert (user.role, user.is_staff, user.is_superuser) == ("auditor", True, False)
    event = AuditEvent.objects.get(action="create")
    assert event.object_uuid == user.pk
    assert password not in str(event.detail)


def test_a_change_is_audited_with_the_names_of_its_fields(
    administrator: Client,
) -> None:
    user = UserFactory(role=Role.CLINICIAN)
    department = user.primary_department
    administrator.post(
        _change(user),
        {
            "username": user.username,
            "role": "radiologist",
            "is_active": "on",
            "departments": [department.pk],
            "primary_department": department.pk,
        },
    )
    user.refresh_from_db()
    assert user.role == "radiologist"
    event = AuditEvent.objects.get(action="change", object_uuid=user.pk)
    assert _changes(event) == {"role": ("clinician", "radiologist")}


def test_setting_the_password_of_a_user_revokes_their_tokens(
    administrator: Client,
) -> None:
    user = UserFactory()
    issue_token(user)
    new = "another-Password-of-tests-0815"
    page = reverse("admin:auth_user_password_change", args=[user.pk])
    given = {"password1": new, "password2": new, "usable_password": "true"}
    assert administrator.post(page, given).status_code == 302
    user.refresh_from_db()
    assert user.check_password(new)
    assert not Token.objects.filter(user=user).exists()
    event = AuditEvent.objects.get(action="change", object_uuid=user.pk)
    assert _changes(event) == {"password": (None, None)}


def test_changed_departments_are_kept_by_name(administrator: Client) -> None:
    user = UserFactory(role=Role.CLINICIAN)
    old, new = (
        user.primary_department,
        DepartmentFactory(code="neuro", name="Neurology"),
    )
    sent = {"username": user.username, "role": "clinician", "is_active": "on"}
    administrator.post(
        _change(user), {**sent, "departments": [new.pk], "primary_department": new.pk}
    )
    event = AuditEvent.objects.get(action="change", object_uuid=user.pk)
    assert _changes(event) == {
        "departments": ([old.name], ["Neurology"]),
        "primary_department": (old.name, "Neurology"),
    }


def test_the_page_of_an_event_shows_old_and_new_values(administrator: Client) -> None:
    department = DepartmentFactory(code="before", name="Before")
    sent = {"name": "After", "code": department.code}
    administrator.post(_change(department), sent)
    event = AuditEvent.objects.get(action="change")
    for role in (Role.ADMIN, Role.AUDITOR):
        page = html(person(role), _change(event))
        assert "Before" in page
        assert "After" in page


def test_a_new_row_is_kept_with_its_values(administrator: Client) -> None:
    administrator.post(
        reverse("admin:accounts_department_add"), {"name": "Neurology", "code": "neuro"}
    )
    event = AuditEvent.objects.get(action="create")
    assert _changes(event) == {"name": (None, "Neurology"), "code": (None, "neuro")}


def test_a_new_users_password_is_not_kept(administrator: Client) -> None:
    secret = "a-Password-of-tests-0815"
    administrator.post(
        reverse("admin:accounts_user_add"),
        {
            "username": "new",
            "usable_password": "true",
            "password1": secret,
            "password2": secret,
            "role": "clinician",
        },
    )
    event = AuditEvent.objects.get(action="create")
    assert _changes(event)["username"] == (None, "new")
    assert secret not in str(list(AuditChange.objects.values()))


def test_a_changed_field_has_the_name_of_its_form(administrator: Client) -> None:
    user = UserFactory(role=Role.CLINICIAN, first_name="Ada")
    sent = {"username": user.username, "role": "clinician", "is_active": "on"}
    administrator.post(_change(user), {**sent, "first_name": "Grace"})
    event = AuditEvent.objects.get(action="change", object_uuid=user.pk)
    page = html(administrator, _change(event))
    assert re.search(r"<td[^>]*>first name</td>", page)


def _changes(event: AuditEvent) -> dict[str, tuple[object, object]]:
    return {one.field: (one.old, one.new) for one in event.changes.all()}


def test_deleting_a_token_revokes_it(administrator: Client) -> None:
    token, text = issue_token(UserFactory())
    administrator.post(
        reverse("admin:accounts_token_delete", args=[token.pk]), {"post": "yes"}
    )
    assert not Token.objects.exists()
    program = Client(headers={"Authorization": f"Token {text}"})
    assert program.get("/api/v1/models/").status_code == 401
    event = AuditEvent.objects.get(action="delete", object_kind="token")
    assert _changes(event)["user"] == (token.user.username, None)
    assert text not in str(list(AuditChange.objects.values()))
    assert token.digest not in str(list(AuditChange.objects.values()))


def test_activating_a_model_needs_a_reason_and_keeps_it(administrator: Client) -> None:
    version = installed_model(state="installed")
    chosen = {"action": "activate_versions", "_selected_action": [version.pk]}
    path = _changelist(type(version))
    measured_elsewhere = {"reason": "validated", "without_acceptance": "elsewhere"}
    for incomplete in (
        {},
        {"reason": "validated"},
        {"without_acceptance": "elsewhere"},
    ):
        administrator.post(path, {**chosen, **incomplete})
        version.refresh_from_db()
        assert version.state == "installed"
    administrator.post(path, {**chosen, **measured_elsewhere})
    version.refresh_from_db()
    assert (version.state, version.state_reason) == ("active", "validated")
    assert version.state_changed_by == administrator.user
    event = AuditEvent.objects.get(action="change")
    assert (event.detail["state"], event.detail["reason"]) == ("active", "validated")
    assert event.detail["without_acceptance"] == "elsewhere"
    assert _changes(event) == {"state": ("installed", "active")}
    for action, state in (
        ("shadow_versions", "shadow"),
        ("retire_versions", "retired"),
    ):
        administrator.post(path, {**chosen, "action": action, "reason": "tests"})
        version.refresh_from_db()
        assert version.state == state


def test_a_threshold_needs_a_label_of_the_card(
    administrator: Client,
) -> None:
    version = installed_model()
    path = reverse("admin:diagnoses_operatingpoint_add")
    given = {"model_version": version.pk, "value": "0.4", "reason": "Youden on val"}
    refused = administrator.post(path, {**given, "label": "Broken rib"})
    assert refused.status_code == 200
    assert "One of:" in str(refused.context["errors"])
    administrator.post(path, {**given, "label": "Normal"})
    point = version.operating_points.get(label="Normal")
    assert (point.value, point.set_by) == (0.4, administrator.user)
    assert point.reason == "Youden on val"
    event = AuditEvent.objects.get(action="change", object_kind="operating_point")
    old, new = _changes(event)["Normal"]
    assert isinstance(old, float)
    assert new == 0.4


def test_a_user_without_department_is_marked_in_the_list(
    administrator: Client,
) -> None:
    UserFactory(role=Role.RADIOLOGIST).departments.clear()
    page = html(administrator, _changelist(User))
    assert page.count("No department: sees no studies") == 1


def test_json_is_folded_and_indented(administrator: Client) -> None:
    event = AuditEvent.objects.create(action="view", source="web", detail={"rows": 3})
    page = html(administrator, _change(event))
    assert '<details class="json"><summary>1 entry</summary>' in page
    assert "{\n  &quot;rows&quot;: 3\n}" in page


def test_every_cell_of_a_list_names_its_column(administrator: Client) -> None:
    page = html(administrator, _changelist(User))
    assert 'data-column="Username"' in page
    assert len(re.findall(r"<t[dh] data-column=", page)) == page.count("<td") + (
        page.count("<th") - page.count("<thead") - page.count('<th scope="col"')
    )
