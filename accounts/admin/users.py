"""Admin pages of users, departments, tokens, lock-outs and the audit trail."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.contrib.messages import WARNING
from django.db import models
from django.db.models import Count, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format, time_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, is_staff_role, lacks_department
from accounts.admin.audited import AuditedAdmin
from accounts.admin.lists import StoredValuesFilter
from accounts.audit import field_name, value_name
from accounts.models import (
    AuditChange,
    AuditEvent,
    AuditSubject,
    Department,
    FailedSignIns,
    Token,
    User,
)

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

admin.site.unregister(Group)  # roles replace groups of permissions


class _Counted(TypedDict):
    """The annotation of the querysets below."""

    count: int | None


@admin.register(User)
class UserAdmin(AuditedAdmin, DjangoUserAdmin):
    """Users. They are deactivated, never deleted: audit events refer to them."""

    editable = True
    list_display = (
        "username",
        "full_name",
        "role",
        "primary_department",
        "department_names",
        "is_active",
    )
    list_filter = ("role", "is_active", "departments")
    list_select_related = ("primary_department",)
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    formfield_overrides: ClassVar = {
        models.ManyToManyField: {"widget": forms.CheckboxSelectMultiple}
    }
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (
            _("Access"),
            {"fields": ("is_active", "role", "departments", "primary_department")},
        ),
        (_("Times"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": (
                    "username",
                    "usable_password",
                    "password1",
                    "password2",
                    "role",
                    "departments",
                    "primary_department",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[User]:
        """Return the users with their departments."""
        return super().get_queryset(request).prefetch_related("departments")

    @admin.display(description=_("departments"))
    def department_names(self, user: User) -> str | SafeString:
        """Return the departments whose studies the user sees, or a warning."""
        if lacks_department(user):
            warning = gettext("No department: sees no studies")
            return format_html('<strong class="warning">{}</strong>', warning)
        return ", ".join(department.name for department in user.departments.all())

    def save_related(
        self, request: HttpRequest, form: Any, formsets: Any, change: bool
    ) -> None:
        """Save the departments; warn about a user who sees no study without one."""
        super().save_related(request, form, formsets, change)
        if lacks_department(form.instance):
            warning = gettext(
                "%(user)s belongs to no department and sees no studies, not even those "
                "of own uploads. Choose a department."
            )
            self.message_user(request, warning % {"user": form.instance}, WARNING)

    @admin.display(description=_("name"), ordering="last_name")
    def full_name(self, user: User) -> str:
        """Return the user's full name."""
        return user.get_full_name()

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Set a user's password and delete the user's tokens."""
        answer = super().user_change_password(request, id, form_url)
        if answer.status_code == HTTPStatus.FOUND:
            Token.objects.filter(user_id=id).delete()
        return answer

    def save_model(
        self, request: HttpRequest, obj: User, form: forms.ModelForm, change: bool
    ) -> None:
        """Keep Django's `is_staff` in step with the role."""
        obj.is_staff = is_staff_role(obj.role)
        super().save_model(request, obj, form, change)


@admin.register(Department)
class DepartmentAdmin(AuditedAdmin):
    """Departments of the hospital."""

    editable = True
    list_display = ("name", "code", "members_count")
    search_fields = ("name", "code")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Department]:
        """Return the departments with their number of members, in one query."""
        return super().get_queryset(request).annotate(count=Count("members"))

    @admin.display(description=_("members"), ordering="count")
    def members_count(self, department: "WithAnnotations[Department, _Counted]") -> int:
        """Return how many users may see this department's studies."""
        return department.count or 0


@admin.register(Token)
class TokenAdmin(AuditedAdmin):
    """Tokens in use. Users create their own; deleting one here revokes it."""

    deletable = True
    kept_of_deleted = ("user", "name", "scopes", "created", "expiry")
    list_display = ("token_key", "user", "name", "created", "expiry")
    list_filter = ("user__role",)
    list_select_related = ("user",)
    search_fields = ("user__username", "name", "token_key")
    fields = ("token_key", "user", "name", "scope_names", "created", "expiry")
    readonly_fields = fields

    @admin.display(description=_("scopes"))
    def scope_names(self, token: Token) -> str:
        """Return what the token may do, in words."""
        names = [
            str(Action(scope).label) if scope in Action.values else scope
            for scope in token.scopes
        ]
        return ", ".join(names)


@admin.register(FailedSignIns)
class FailedSignInsAdmin(AuditedAdmin):
    """Failed sign-ins that count towards a lock-out; deleting a row ends it."""

    deletable = True
    kept_of_deleted = ("address", "failures", "last_at")
    list_display = ("user", "address", "failures", "last_at", "locked_until")
    list_select_related = ("user",)
    search_fields = ("user__username", "address")
    fields = list_display
    readonly_fields = fields


class NamedValuesFilter(StoredValuesFilter):
    """A filter of audit events that shows the stored values in words."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Return the choices; the first one, All, has no value."""
        every, *others = super().choices(changelist)
        yield every
        for choice in others:
            name = value_name(self.field_path, str(choice["display"]))
            yield choice | {"display": name}


class AuditSubjectInline(admin.TabularInline):
    """Keys of the patients whose data an event showed or changed."""

    model = AuditSubject
    template = "admin/read_only_inline.html"
    fields = ("patient_uuid",)
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = _("patients")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Show the patients' keys to everyone who may read the event."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody add rows to the audit trail by hand."""
        return False


class AuditChangeInline(admin.TabularInline):
    """What an event changed, old and new."""

    model = AuditChange
    template = "admin/read_only_inline.html"
    fields = ("field_name", "old_value", "new_value")
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = _("changes")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Show the changes to everyone who may read the event."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody add rows to the audit trail by hand."""
        return False

    @admin.display(description=_("field"))
    def field_name(self, change: AuditChange) -> str:
        """Return the field as the forms name it."""
        return field_name(change.event.object_kind, change.field)

    @admin.display(description=_("old value"))
    def old_value(self, change: AuditChange) -> str:
        """Return the old value as text."""
        return _as_text(change.old)

    @admin.display(description=_("new value"))
    def new_value(self, change: AuditChange) -> str:
        """Return the new value as text."""
        return _as_text(change.new)


def _as_text(value: Any) -> str:
    """Return a recorded value as a person reads it."""
    if value in (None, "", []):
        return "–"
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_as_text(part)}" for name, part in value.items())
    return str(value)


@admin.register(AuditEvent)
class AuditEventAdmin(AuditedAdmin):
    """Audit events. Search by user name or by the key of a user, object or patient."""

    view_action = Action.READ_AUDIT
    list_display = (
        "moment",
        "actor_name",
        "action_name",
        "outcome",
        "kind_name",
        "patients_count",
        "source_name",
        "address",
        "object_uuid",
    )
    list_filter = (
        "at",
        ("action", NamedValuesFilter),
        "outcome",
        ("source", NamedValuesFilter),
        ("object_kind", NamedValuesFilter),
    )
    search_keys = ("object_uuid", "actor_uuid", "subjects__patient_uuid")
    search_fields = ("actor_name__exact",)
    sortable_by = ()
    search_help_text = _("A user name, or the key of a user, object or patient.")
    inlines = (AuditChangeInline, AuditSubjectInline)
    fields = (
        "at",
        "actor_name",
        "actor_uuid",
        "action_name",
        "kind_name",
        "object_uuid",
        "source_name",
        "address",
        "outcome",
        "detail",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[AuditEvent]:
        """Return the events with their number of patients."""
        subjects = AuditSubject.objects.filter(event=OuterRef("pk")).order_by()
        counted = subjects.values("event").annotate(count=Count("pk")).values("count")
        return super().get_queryset(request).annotate(count=Subquery(counted))

    def patients_on_page(self, row: models.Model) -> set[UUID]:
        """Return the patients whose old and new values the page of an event shows."""
        keys = AuditChange.objects.filter(event=row.pk).values_list(
            "patient_uuid", flat=True
        )
        return {key for key in keys if key is not None}

    @admin.display(description=_("time"), ordering="at")
    def moment(self, event: AuditEvent) -> str:
        """Return the time with its seconds, since the order of events matters."""
        at = timezone.localtime(event.at)
        return f"{date_format(at, 'DATE_FORMAT')}, {time_format(at, 'H:i:s')}"

    @admin.display(description=_("action"), ordering="action")
    def action_name(self, event: AuditEvent) -> str:
        """Return the action in words."""
        return value_name("action", event.action)

    @admin.display(description=_("source"), ordering="source")
    def source_name(self, event: AuditEvent) -> str:
        """Return the source in words."""
        return value_name("source", event.source)

    @admin.display(description=_("object"), ordering="object_kind")
    def kind_name(self, event: AuditEvent) -> str:
        """Return the kind of the object in words."""
        return value_name("object_kind", event.object_kind)

    @admin.display(description=_("patients"))
    def patients_count(self, event: "WithAnnotations[AuditEvent, _Counted]") -> int:
        """Return how many patients' data the event showed or changed."""
        return event.count or 0
