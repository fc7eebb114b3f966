"""Access decisions by role, scope and department."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory

from accounts.access import (
    ALLOWED,
    STAFF_ROLES,
    UNLIMITED_ROLES,
    Action,
    may,
    may_open_admin,
    require,
    visible_departments,
)
from accounts.errors import NotAllowed
from accounts.models import Role, User
from patients.models import Patient, Study
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
