"""Access decisions: by action, role, token scope and department.

This module does not know patients: each model names the path to its department in
`department_path`, and `visible_to(user)` follows it.
"""

from collections.abc import Iterable
from typing import Generic, Self, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.errors import NotAllowed, NotSignedIn
from accounts.models import Department, Role, Token, User

_Model = TypeVar("_Model", bound=models.Model)


class Action(models.TextChoices):
    """What a role may do; also the scopes that a token can carry."""

    UPLOAD = "upload", _("Upload images")
    READ_PATIENTS = "read_patients", _("Read patients and studies")
    READ_IMAGES = "read_images", _("View images")
    READ_RESULTS = "read_results", _("Read model results")
    READ_MODELS = "read_models", _("Read models")
    READ_SHADOW = "read_shadow", _("Read shadow results")
    RETRY_PREDICTION = "retry_prediction", _("Retry a prediction")
    REVIEW = "review", _("Review results")
    RESOLVE_CONFLICT = "resolve_conflict", _("Resolve conflicts")
    READ_AUDIT = "read_audit", _("Read the audit trail")
    ADMINISTER = "administer", _("Administer ChestX")


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
# Roles that may open the admin site; `User.is_staff` follows them.
STAFF_ROLES = frozenset({Role.ADMIN, Role.AUDITOR})


def may(
    user: User | AnonymousUser, action: Action, *, scopes: Iterable[str] | None = None
) -> bool:
    """Return whether the role and the token's scopes, if any, allow the action."""
    if not user.is_authenticated or not user.is_active:
        return False
    return action in ALLOWED[user.role] and (scopes is None or action in set(scopes))


class DepartmentQuerySet(models.QuerySet[_Model], Generic[_Model]):
    """Rows that belong to the department at `department_path`."""

    department_path: str

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Return the rows of the user's departments, or all for unlimited roles."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if user.role in UNLIMITED_ROLES:
            return self
        return self.filter(
            **{f"{self.department_path}__in": user.departments.order_by().values("pk")}
        )


def actions_of(user: User, *, scopes: Iterable[str] | None = None) -> frozenset[Action]:
    """Return all actions that the role and the token's scopes allow."""
    return frozenset(action for action in Action if may(user, action, scopes=scopes))


def scopes_of(request: HttpRequest) -> frozenset[str] | None:
    """Return the scopes of the request's token, or None without a token."""
    token = getattr(request, "auth", None)
    return frozenset(token.scopes) if isinstance(token, Token) else None


def require(subject: HttpRequest | User, action: Action) -> None:
    """Check that the user of the request may do the action.

    Raises:
        NotAllowed: The role or the token's scopes do not allow the action.
    """
    if isinstance(subject, User):
        allowed = may(subject, action)
    else:
        allowed = may(subject.user, action, scopes=scopes_of(subject))
    if not allowed:
        raise NotAllowed(
            _("Your role does not have the permission “%(action)s”."),
            params={"action": action.label},
        )


def signed_in_user(request: HttpRequest) -> User:
    """Return the user of a request.

    Raises:
        NotSignedIn: The request is anonymous.
    """
    if not isinstance(request.user, User):
        raise NotSignedIn(_("Sign in first."))
    return request.user


def visible_departments(user: User | AnonymousUser) -> models.QuerySet[Department]:
    """Return the departments whose studies the user may see."""
    if not user.is_authenticated or not user.is_active:
        return Department.objects.none()
    if user.role in UNLIMITED_ROLES:
        return Department.objects.all()
    return user.departments.all()


def lacks_department(user: User) -> bool:
    """Return whether the user sees no study because of having no department."""
    return (
        may(user, Action.READ_PATIENTS)
        and user.role not in UNLIMITED_ROLES
        and not user.departments.exists()
    )


def may_open_admin(user: User | AnonymousUser) -> bool:
    """Return whether the user's role may open the admin site."""
    return user.is_authenticated and user.is_active and user.role in STAFF_ROLES
