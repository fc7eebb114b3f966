"""Access decisions: by action, role, token scope and department.

`visible` decides which rows a user may see, `require` what a user may do, and to which
row. Nothing else decides. This module does not know patients: each model with rows of
a department declares its `Visibility`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.errors import NotAllowed, NotFound, NotSignedIn
from accounts.models import Department, Role, User

_Model = TypeVar("_Model", bound=models.Model)
_Rows = TypeVar("_Rows", bound=models.QuerySet[Any])


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
STAFF_ROLES = frozenset(role for role in Role if Action.READ_AUDIT in ALLOWED[role])


@dataclass(frozen=True)
class Visibility:
    """Who sees the rows of a model; the model declares it as `visibility`.

    Attributes:
        action: What seeing a row needs of the role and the token.
        department: The lookup to the department of the row.
        through: Instead of a department: the relation to another model. A row is seen
            by those who see one of the related rows.
        owner: The lookup to the user who sees the row whatever its department.
        withheld: Values of the rows that only users with `withheld_for` see.
        withheld_for: The action that shows them.
    """

    action: Action
    department: str = ""
    through: str = ""
    owner: str = ""
    withheld: Mapping[str, object] = field(default_factory=dict)
    withheld_for: Action = Action.ADMINISTER


def may(
    user: User | AnonymousUser, action: Action, *, scopes: Iterable[str] | None = None
) -> bool:
    """Return whether the role and the token's scopes, if any, allow the action.

    Args:
        user: The user; one who signed in by a token carries its scopes.
        action: What the user wants to do.
        scopes: Scopes instead of those of the user's token.
    """
    if not isinstance(user, User) or not user.is_active:
        return False
    limits = user.token_scopes if scopes is None else frozenset(scopes)
    return action in ALLOWED[user.role] and (limits is None or action in limits)


def visible(
    rows: _Rows, user: User | AnonymousUser, scopes: Iterable[str] | None = None
) -> _Rows:
    """Return those of the rows that the user may see.

    Args:
        rows: Of a model that declares its `Visibility`.
        user: The user; one who signed in by a token carries its scopes.
        scopes: Scopes instead of those of the user's token.
    """
    return _limited(rows, user, scopes)


def writable(rows: _Rows, user: User | None, *, department: Department) -> _Rows:
    """Return those of the rows that a received file may be added to, or may change.

    Writing needs the right to read what is written to. A token that may only upload
    writes where its owner reads.

    Args:
        rows: Of a model that declares its `Visibility`.
        user: The sender; None for a program of ChestX, which writes everywhere.
        department: Of the sender's new studies.
    """
    if user is None:
        return rows
    return _limited(rows, user, Action, also=department)


def _limited(
    rows: _Rows,
    user: User | AnonymousUser,
    scopes: Iterable[str] | None,
    *,
    also: Department | None = None,
) -> _Rows:
    rule: Visibility = rows.model.visibility
    if not isinstance(user, User) or not may(user, rule.action, scopes=scopes):
        return rows.none()
    limited = user.role not in UNLIMITED_ROLES
    condition = models.Q()
    if limited and rule.through:
        relation: Any = rows.model._meta.get_field(rule.through)
        others = relation.related_model._base_manager
        seen = _limited(others.all(), user, scopes, also=also)
        back, key = (
            (relation.field.name, "pk")
            if relation.one_to_many
            else ("pk", relation.attname)
        )
        condition &= models.Q(
            models.Exists(seen.filter(**{back: models.OuterRef(key)}))
        )
    elif limited:
        condition &= models.Q(**{f"{rule.department}__in": _department_keys(user)})
        if also is not None:
            condition |= models.Q(**{rule.department: also})
    if rule.withheld and not may(user, rule.withheld_for, scopes=scopes):
        condition &= ~models.Q(**rule.withheld)
    if rule.owner and condition:
        condition |= models.Q(**{rule.owner: user})
    return rows.filter(condition) if condition else rows


class VisibleQuerySet(models.QuerySet[_Model], Generic[_Model]):
    """Rows of a model that declares its `Visibility`."""

    def visible_to(
        self, user: User | AnonymousUser, *, scopes: Iterable[str] | None = None
    ) -> Self:
        """Return those of the rows that the user may see: `visible` decides."""
        return visible(self, user, scopes)

    def visible_parts(self, user: User | AnonymousUser) -> list[Self]:
        """Return the visible rows in parts, each of which an index has in its order.

        For unlimited roles there is one part, for others one for each department.
        """
        seen = self.visible_to(user)
        if not isinstance(user, User) or user.role in UNLIMITED_ROLES:
            return [seen]
        rule: Visibility = self.model.visibility  # type: ignore[attr-defined]
        return [seen.filter(**{rule.department: key}) for key in _department_keys(user)]


def _department_keys(user: User) -> list[UUID]:
    """Return the keys of the user's departments.

    They are written into queries: in a subquery the planner could not see whether a
    department is large or small.
    """
    return list(user.departments.order_by("pk").values_list("pk", flat=True))


def actions_of(user: User, *, scopes: Iterable[str] | None = None) -> frozenset[Action]:
    """Return all actions that the role and the token's scopes allow."""
    return frozenset(action for action in Action if may(user, action, scopes=scopes))


def require(
    subject: HttpRequest | User, action: Action, obj: models.Model | None = None
) -> None:
    """Check that the user may do the action, and may see the row that it is done to.

    Args:
        subject: The user, or the request of the user.
        action: What the user wants to do.
        obj: The row, of a model that declares its `Visibility`.

    Raises:
        NotAllowed: The role or the token's scopes do not allow the action.
        NotFound: The user may not see the row, or it does not exist any more.
    """
    user = subject if isinstance(subject, User) else subject.user
    if not may(user, action):
        raise NotAllowed(
            _("Your role does not have the permission “%(action)s”."),
            params={"action": action.label},
        )
    if obj is None:
        return
    rows = type(obj)._base_manager.filter(pk=obj.pk)
    if not visible(rows, user).exists():
        raise NotFound(_("Not found, or you do not have access to it."))


def signed_in_user(request: HttpRequest) -> User:
    """Return the user of a request.

    Raises:
        NotSignedIn: The request is anonymous.
    """
    if not isinstance(request.user, User):
        raise NotSignedIn(_("Sign in first."))
    return request.user


def visible_departments(user: User | AnonymousUser) -> models.QuerySet[Department]:
    """Return the departments whose rows the user may see, for queries in SQL."""
    if not isinstance(user, User) or not user.is_active:
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
    return may(user, Action.READ_AUDIT)


def is_staff_role(role: str) -> bool:
    """Return whether users of the role may open the admin site."""
    return role in STAFF_ROLES
