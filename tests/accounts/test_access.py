"""Access decisions by role, scope and department."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Model
from django.test import RequestFactory

from accounts.access import (
    ALLOWED,
    STAFF_ROLES,
    UNLIMITED_ROLES,
    Action,
    may,
    may_open_admin,
    require,
    visible,
    visible_departments,
)
from accounts.errors import NotAllowed, NotFound
from accounts.models import Role, User
from patients.models import Patient, Study, Upload
from tests.factories import DepartmentFactory, StudyFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_every_role_has_allowed_actions() -> None:
    assert set(ALLOWED) == set(Role)


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        (Action.UPLOAD, {"technologist", "radiologist", "integration", "admin"}),
        (
            Action.READ_IMAGES,
            {"radiologist", "clinician", "technologist", "integration", "admin"},
        ),
        (Action.READ_AUDIT, {"auditor", "admin"}),
        (Action.REVIEW, {"radiologist", "admin"}),
        (Action.ADMINISTER, {"admin"}),
        (Action.RESOLVE_CONFLICT, {"admin"}),
        (Action.READ_MODELS, set(Role)),
        (Action.READ_SHADOW, {"data_scientist", "admin"}),
    ],
)
def test_each_action_is_allowed_to_its_roles_only(
    action: Action, roles: set[str]
) -> None:
    allowed = {role for role in Role if may(UserFactory.build(role=role), action)}
    assert allowed == roles


def test_anonymous_and_deactivated_users_may_do_nothing() -> None:
    gone = UserFactory(role=Role.ADMIN, is_active=False)
    for user in (AnonymousUser(), gone):
        assert not any(may(user, action) for action in Action)
        assert not Study.objects.visible_to(user).exists()
        assert not visible_departments(user).exists()
        assert not may_open_admin(user)


def test_a_tokens_scopes_narrow_the_role_and_never_widen_it() -> None:
    clinician = UserFactory.build(role=Role.CLINICIAN)
    assert may(clinician, Action.READ_PATIENTS, scopes=["read_patients"])
    assert not may(clinician, Action.READ_PATIENTS, scopes=["read_models"])
    assert not may(clinician, Action.UPLOAD, scopes=["upload"])


def test_require_reads_the_scopes_of_the_requests_token() -> None:
    request = RequestFactory().get("/")
    request.user = UserFactory()
    require(request, Action.READ_PATIENTS)
    request.user.token_scopes = frozenset({Action.READ_MODELS})
    with pytest.raises(NotAllowed):
        require(request, Action.READ_PATIENTS)


@pytest.mark.parametrize("role", Role)
def test_studies_are_visible_to_their_department_and_to_unlimited_roles(
    role: Role,
) -> None:
    study = StudyFactory()
    colleague = UserFactory(role=role, departments=[study.department])
    stranger = UserFactory(role=role, departments=[DepartmentFactory(code="emergency")])
    unlimited = role in UNLIMITED_ROLES
    for rows in (Study.objects, Patient.objects):
        reads = may(colleague, Action.READ_PATIENTS)
        assert rows.visible_to(colleague).count() == (1 if reads else 0)
        assert rows.visible_to(stranger).count() == (1 if unlimited else 0)
    assert visible_departments(stranger).count() == (2 if unlimited else 1)


def test_a_patient_with_a_visible_study_is_listed_once() -> None:
    first = StudyFactory()
    StudyFactory(patient=first.patient)
    StudyFactory(patient=first.patient, department__code="emergency")
    user = UserFactory(departments=[first.department])
    assert Patient.objects.visible_to(user).count() == 1
    assert Study.objects.visible_to(user).count() == 2


def test_a_superuser_has_the_admin_role() -> None:
    user = User.objects.create_superuser("root", password="a-Password-of-tests")
    assert user.role == Role.ADMIN
    assert user.role in STAFF_ROLES


# Where users are made, and where the demo finds one of them.
NAME_A_ROLE = {
    "accounts/access.py",
    "accounts/models.py",
    "accounts/demo.py",
    "chestx_site/demo.py",
    "patients/phantom/load.py",
}


def _role_uses(path: Path) -> Iterator[str]:
    """Yield the lines of a module that name a role or decide by one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        named = isinstance(node, ast.Name) and node.id in ("Role", "UNLIMITED_ROLES")
        compared = isinstance(node, ast.Compare | ast.Subscript | ast.Match) and any(
            isinstance(part, ast.Attribute) and part.attr in DECIDES
            for part in ast.walk(node)
        )
        flag = isinstance(node, ast.Attribute) and node.attr == "is_superuser"
        if named or compared or flag:
            yield f"{path.relative_to(settings.BASE_DIR)}:{getattr(node, 'lineno', 0)}"


DECIDES = ("role", "is_staff", "is_superuser")
APPS = ("accounts", "patients", "diagnoses", "chestx_site")


def test_no_other_module_decides_by_a_role() -> None:
    uses = [
        use
        for app in APPS
        for path in sorted((settings.BASE_DIR / app).rglob("*.py"))
        if str(path.relative_to(settings.BASE_DIR)) not in NAME_A_ROLE
        and "migrations" not in path.parts
        for use in _role_uses(path)
    ]
    assert uses == []


def test_no_page_decides_by_a_role() -> None:
    decides = re.compile(
        r"{%\s*(?:el)?if\b[^%]*\b(?:role|is_staff|is_superuser)\b|request\.user\.role"
    )
    templates = (settings.BASE_DIR / "templates").rglob("*.html")
    assert [
        page.name for page in templates if decides.search(page.read_text("utf-8"))
    ] == []


def test_every_model_with_a_patients_rows_declares_who_sees_them() -> None:
    """Each model from which a chain of foreign keys leads to a patient."""
    reaching: set[type[Model]] = {Patient}
    grew = True
    while grew:
        new = {
            model
            for model in apps.get_models()
            for field in model._meta.get_fields()
            if field.concrete and field.related_model in reaching
        }
        grew = not new <= reaching
        reaching |= new
    assert len(reaching) > 8
    assert [m.__name__ for m in reaching if not hasattr(m, "visibility")] == []


def test_a_token_without_the_scope_sees_no_rows() -> None:
    study = StudyFactory()
    reader = UserFactory(departments=[study.department])
    assert visible(Patient.objects.all(), reader).exists()
    reader.token_scopes = frozenset({Action.READ_MODELS, Action.READ_RESULTS})
    for rows in (Patient.objects, Study.objects, Upload.objects):
        assert not visible(rows.all(), reader).exists()
    everything = frozenset(Action)
    assert visible(Patient.objects.all(), reader, everything).exists()


def test_what_is_required_of_an_object_is_the_right_to_see_it() -> None:
    study = StudyFactory()
    reader = UserFactory(departments=[study.department])
    require(reader, Action.READ_PATIENTS, study)
    elsewhere = UserFactory(departments=[DepartmentFactory(code="emergency")])
    with pytest.raises(NotFound):
        require(elsewhere, Action.READ_PATIENTS, study)
    with pytest.raises(NotAllowed):
        require(elsewhere, Action.ADMINISTER, study)
