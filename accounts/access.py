"""The one place that decides who may do what: by action, role, scope and department.

It knows no patient: each model names the path to its department in
`department_path`, and `visible_to(user)` follows it.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Generic, Self, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.errors import NotAllowed, NotSignedIn
from accounts.models import Department, Role, Token, User

_Model = TypeVar("_Model", bound=models.Model)


class Action(StrEnum):
    """What can be allowed; also the scopes that a token can carry."""

    UPLOAD = "upload"
    READ_PATIENTS = "read_patients"
    READ_IMAGES = "read_images"
    READ_RESULTS = "read_results"
    READ_MODELS = "read_models"
    READ_SHADOW = "read_shadow"
    RETRY_PREDICTION = "retry_prediction"
    REVIEW = "review"
    RESOLVE_CONFLICT = "resolve_conflict"
    READ_AUDIT = "read_audit"
    ADMINISTER = "administer"


_READS = {
    Action.READ_PATIENTS,
    Action.READ_IMAGES,
    Action.READ_RESULTS,
    Action.READ_MODELS,
}
ALLOWED: dict[str, frozenset[Action]] = {
    Role.RADIOLOGIST: frozenset(
        _READS | {Action.UPLOAD, Action.RETRY_PREDICTION, Action.REVIEW}
    ),
    Role.CLINICIAN: frozenset(_READS),
    Role.TECHNOLOGIST: frozenset(_READS | {Action.UPLOAD, Action.RETRY_PREDICTION}),
    Role.DATA_SCIENTIST: frozenset({Action.READ_MODELS, Action.READ_SHADOW}),
    Role.AUDITOR: frozenset(
        {Action.READ_PATIENTS, Action.READ_MODELS, Action.READ_AUDIT}
    ),
    Role.ADMIN: frozenset(Action),
    Role.INTEGRATION: frozenset(_READS | {Action.UPLOAD, Action.RETRY_PREDICTION}),
}
UNLIMITED_ROLES = frozenset({Role.ADMIN, Role.AUDITOR})
# Who may open the admin site; `User.is_staff` says the same to Django.
STAFF_ROLES = frozenset({Role.ADMIN, Role.AUDITOR})


def may(
    user: User | AnonymousUser, action: Action, *, scopes: Iterable[str] | None = None
) -> bool:
    """Whether the role, and a token's scopes where there is one, allow the action."""
    if not user.is_authenticated or not user.is_active:
        return False
    return action in ALLOWED[user.role] and (scopes is None or action in set(scopes))


class DepartmentQuerySet(models.QuerySet[_Model], Generic[_Model]):
    """Rows that belong to a department, reached by `department_path`."""

    department_path: str

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Rows of the user's departments; all rows for the roles without that limit."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if user.role in UNLIMITED_ROLES:
            return self
        return self.filter(
            **{f"{self.department_path}__in": user.departments.order_by().values("pk")}
        )


def actions_of(user: User, *, scopes: Iterable[str] | None = None) -> frozenset[Action]:
    """Return everything that the user may do, narrowed by a token's scopes."""
    return frozenset(action for action in Action if may(user, action, scopes=scopes))


def scopes_of(request: HttpRequest) -> frozenset[str] | None:
    """Return the scopes of the request's token, None where it came without one."""
    token = getattr(request, "auth", None)
    return frozenset(token.scopes) if isinstance(token, Token) else None


def require(subject: HttpRequest | User, action: Action) -> None:
    """Let the request, or the user, pass if the action is theirs.

    Raises:
        NotAllowed: The role or the token's scopes do not have the action.
    """
    if isinstance(subject, User):
        allowed = may(subject, action)
    else:
        allowed = may(subject.user, action, scopes=scopes_of(subject))
    if not allowed:
        raise NotAllowed(f"Your role may not do this ({action.value}).")


def signed_in_user(request: HttpRequest) -> User:
    """Return the user of a request.

    Raises:
        NotSignedIn: The request is anonymous.
    """
    if not isinstance(request.user, User):
        raise NotSignedIn(_("Sign in first."))
    return request.user


def visible_departments(user: User | AnonymousUser) -> models.QuerySet[Department]:
    """Return the departments whose studies the user sees."""
    if not user.is_authenticated or not user.is_active:
        return Department.objects.none()
    if user.role in UNLIMITED_ROLES:
        return Department.objects.all()
    return user.departments.all()


def may_open_admin(user: User | AnonymousUser) -> bool:
    """Whether the user's role has anything to do on the admin site."""
    return user.is_authenticated and user.is_active and user.role in STAFF_ROLES
