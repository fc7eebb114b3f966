"""Users, departments, tokens, lock-outs, and the audit trail to read."""

from http import HTTPStatus
from typing import Any

from axes.models import AccessAttempt
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Count, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.access import STAFF_ROLES, Action
from accounts.admin.audited import AuditedAdmin
from accounts.models import AuditEvent, AuditSubject, Department, Token, User

# Roles decide here, not groups of permissions.
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(AuditedAdmin, DjangoUserAdmin):
    """Who signs in. Nobody is deleted, as their deeds refer to them: deactivate."""

    editable = True
    list_display = ("username", "full_name", "role", "primary_department", "is_active")
    list_filter = ("role", "is_active", "departments")
    list_select_related = ("primary_department",)
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    filter_horizontal = ("departments",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "Access",
            {"fields": ("is_active", "role", "departments", "primary_department")},
        ),
        ("Times", {"fields": ("last_login", "date_joined")}),
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

    @admin.display(description="name", ordering="last_name")
    def full_name(self, user: User) -> str:
        """Return the person's name."""
        return user.get_full_name()

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Set somebody's password; their sessions and tokens end with the old one."""
        answer = super().user_change_password(request, id, form_url)
        if answer.status_code == HTTPStatus.FOUND:
            Token.objects.filter(user_id=id).delete()
        return answer

    def save_model(
        self, request: HttpRequest, obj: User, form: forms.ModelForm, change: bool
    ) -> None:
        """Keep Django's `is_staff` in step with the role."""
        obj.is_staff = obj.role in STAFF_ROLES
        super().save_model(request, obj, form, change)


@admin.register(Department)
class DepartmentAdmin(AuditedAdmin):
    """Parts of the hospital."""

    editable = True
    list_display = ("name", "code", "members_count")
    search_fields = ("name", "code")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Department]:
        """Return the departments with the number of their members, in one query."""
        return super().get_queryset(request).annotate(count=Count("members"))

    @admin.display(description="members", ordering="count")
    def members_count(self, department: Department) -> int:
        """Return how many users see this department's studies."""
        return department.count


@admin.register(Token)
class TokenAdmin(AuditedAdmin):
    """Tokens in use. They are made by their owners, and revoked here by deleting."""

    deletable = True
    list_display = ("token_key", "user", "name", "created", "expiry")
    list_filter = ("user__role",)
    list_select_related = ("user",)
    search_fields = ("user__username", "name", "token_key")
    fields = ("token_key", "user", "name", "scopes", "created", "expiry")
    readonly_fields = fields


@admin.register(AccessAttempt)
class AccessAttemptAdmin(AuditedAdmin):
    """Failed sign-ins that count towards a lock-out; deleting one lifts it."""

    deletable = True
    list_display = ("username", "ip_address", "failures_since_start", "attempt_time")
    search_fields = ("username", "ip_address")
    fields = (
        "username",
        "ip_address",
        "user_agent",
        "path_info",
        "failures_since_start",
        "attempt_time",
    )
    readonly_fields = fields


class AuditSubjectInline(admin.TabularInline):
    """Whose data an event showed: keys of patients, no names."""

    model = AuditSubject
    fields = ("patient_uuid",)
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = "patients"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may read the event may read its patients' keys."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is added to the trail by hand."""
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(AuditedAdmin):
    """The trail. Search by user name, or by the key of a user, object or patient."""

    view_action = Action.READ_AUDIT
    list_display = (
        "moment",
        "actor_name",
        "action",
        "outcome",
        "object_kind",
        "patients_count",
        "source",
        "address",
        "object_uuid",
    )
    list_filter = ("at", "action", "outcome", "source", "object_kind")
    search_keys = ("object_uuid", "actor_uuid", "subjects__patient_uuid")
    search_fields = ("actor_name",)
    search_help_text = "A user name, or the key of a user, an object or a patient."
    inlines = (AuditSubjectInline,)
    fields = (
        "at",
        "actor_name",
        "actor_uuid",
        "action",
        "object_kind",
        "object_uuid",
        "source",
        "address",
        "outcome",
        "detail",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[AuditEvent]:
        """Return the events with the number of their patients, counted for a page."""
        subjects = AuditSubject.objects.filter(event=OuterRef("pk")).order_by()
        counted = subjects.values("event").annotate(count=Count("pk")).values("count")
        return super().get_queryset(request).annotate(count=Subquery(counted))

    @admin.display(description="at", ordering="at")
    def moment(self, event: AuditEvent) -> str:
        """Return the time with its seconds: the order of things matters here."""
        return f"{timezone.localtime(event.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="patients")
    def patients_count(self, event: AuditEvent) -> int:
        """Return how many patients' data the event showed or changed."""
        return event.count or 0
