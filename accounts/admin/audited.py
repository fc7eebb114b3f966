"""Base class of the admin pages: access by role, read-only by default, audited.

Django's own permissions and log entries are not used: access is decided by
`accounts.access`, and a log entry would keep a patient's name.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts import audit
from accounts.access import Action, may
from accounts.api.audited import patient_keys
from accounts.audit import AuditAction, AuditSource, Change

# Fields of which an event keeps only that they were changed.
SECRET_FIELDS = frozenset(
    {"password", "password1", "password2", "usable_password", "old_password"}
)
# How Django's filters of fields name their parameters.
_FILTER_ENDINGS = (
    "",
    "__exact",
    "__id__exact",
    "__isnull",
    "__isempty",
    "__gte",
    "__lt",
)


class AuditedAdmin(admin.ModelAdmin):
    """A ModelAdmin that writes an audit event before it shows a list or a page.

    Attributes:
        patient_path: The lookup from the model to its patient's key ("pk",
            "study__patient_id"); None if the rows hold no patient data.
        view_action: The action that viewing needs.
        editable: Whether administrators may add and change rows.
        deletable: Whether administrators may delete rows.
        search_keys: Lookups of keys, searched if the term is a UUID.
        link_lookups: Lookups that links from other pages use, besides those of the
            filters.
        kept_of_deleted: The fields of a deleted row whose values the event keeps.
    """

    patient_path: str | None = None
    view_action = Action.ADMINISTER
    editable = False
    deletable = False
    search_keys: Sequence[str] = ()
    link_lookups: Sequence[str] = ()
    kept_of_deleted: Sequence[str] = ()
    list_per_page = 50
    # The full count is a second query over a hundred thousand rows.
    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the index lists the model."""
        return may(request.user, self.view_action)

    def has_view_permission(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> bool:
        """Return whether the user's role may view rows."""
        return may(request.user, self.view_action)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may add rows."""
        return self.editable and may(request.user, Action.ADMINISTER)

    def has_change_permission(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> bool:
        """Return whether the user may change rows."""
        return self.editable and may(request.user, Action.ADMINISTER)

    def has_delete_permission(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> bool:
        """Return whether the user may delete rows."""
        return self.deletable and may(request.user, Action.ADMINISTER)

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        """Return whether a list may be filtered so: by its filters and by links.

        Django allows every lookup of every column: a slow regular expression, or a
        value that the database refuses.
        """
        allowed = {*self.link_lookups}
        for declared in self.list_filter:
            if isinstance(declared, type):
                allowed.add(declared.parameter_name)  # type: ignore[attr-defined]
            else:
                name = declared[0] if isinstance(declared, tuple) else declared
                allowed |= {f"{name}{ending}" for ending in _FILTER_ENDINGS}
        return lookup in allowed

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Write the audit event with the listed patients, then return the list."""
        changes = super().get_changelist_instance(request)
        rows = list(changes.result_list)
        changes.result_list = rows
        self._record(
            request,
            AuditAction.SEARCH if changes.query else AuditAction.LIST,
            patients=self.patients_of(rows),
            detail={"rows": len(rows), "parameters": sorted(request.GET)},
        )
        return changes

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        """Search by key if the term is a UUID, else by the model's search fields."""
        try:
            key = UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        matches = models.Q(pk__in=())
        for lookup in self.search_keys:
            matches |= models.Q(**{lookup: key})
        # A lookup over many rows (an event's patients) may return a row many times.
        return queryset.filter(matches), any("__" in path for path in self.search_keys)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> models.Model | None:
        """Write the audit event, then return the row that the page shows."""
        # Django passes an empty `_to_field` on as the name of a field.
        shown = super().get_object(request, object_id, from_field or None)
        if shown is not None:
            self._record(
                request,
                AuditAction.VIEW,
                shown=shown,
                patients=self.patients_on_page(shown),
            )
        return shown

    def patients_on_page(self, row: models.Model) -> set[UUID]:
        """Return the keys of the patients whose data the page of a row shows."""
        return self.patients_of([row])

    def patients_of(self, rows: Sequence[models.Model]) -> set[UUID]:
        """Return the patients' keys of these rows, in one query."""
        if self.patient_path is None or not rows:
            return set()
        if self.patient_path == "pk":
            return {row.pk for row in rows}
        return patient_keys(list(rows), self.patient_path)

    def construct_change_message(  # type: ignore[override]
        self,
        request: HttpRequest,
        form: forms.ModelForm,
        formsets: Any,
        add: bool = False,
    ) -> list[Change]:
        """Return the changed fields with their old and new values."""
        return [
            Change(name, None, None)
            if name in SECRET_FIELDS
            else Change(
                name,
                None if add else _former_value(form, name),
                form.cleaned_data.get(name),
            )
            for name in form.changed_data
            if name in form.cleaned_data or name in SECRET_FIELDS
        ]

    # The audit trail replaces Django's log entries, so these three return none.
    def log_addition(  # type: ignore[override]
        self, request: HttpRequest, obj: models.Model, message: Any
    ) -> None:
        """Record a new row in the audit trail, in place of Django's own log."""
        self._record_change(request, AuditAction.CREATE, obj, message)

    def log_change(  # type: ignore[override]
        self, request: HttpRequest, obj: models.Model, message: Any
    ) -> None:
        """Record a changed row in the audit trail, with old and new values."""
        self._record_change(request, AuditAction.CHANGE, obj, message)

    def log_deletions(  # type: ignore[override]
        self, request: HttpRequest, queryset: Iterable[models.Model]
    ) -> None:
        """Record each deleted row in the audit trail."""
        for row in queryset:
            kept = [
                Change(name, getattr(row, name), None) for name in self.kept_of_deleted
            ]
            self._record_change(request, AuditAction.DELETE, row, kept)

    def history_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the row's events in the audit trail."""
        url = reverse(f"{self.admin_site.name}:accounts_auditevent_changelist")
        return redirect(f"{url}?{urlencode({'q': object_id})}")

    def _record_change(
        self,
        request: HttpRequest,
        action: str,
        row: models.Model,
        changes: Sequence[Change],
    ) -> None:
        self._record(
            request,
            action,
            shown=row,
            patients=self.patients_of([row]),
            changes=changes,
        )

    def _record(
        self,
        request: HttpRequest,
        action: str,
        *,
        patients: Iterable[UUID],
        shown: models.Model | None = None,
        detail: dict[str, object] | None = None,
        changes: Sequence[Change] = (),
    ) -> None:
        key = shown.pk if shown is not None else None
        audit.record(
            action=action,
            actor=request.user,
            request=request,
            source=AuditSource.ADMIN,
            object_kind=self.opts.model_name or "",
            object_uuid=key if isinstance(key, UUID) else None,
            patients=patients,
            detail=detail,
            changes=changes,
        )


def _former_value(form: forms.ModelForm, name: str) -> Any:
    """Return the value from before a form was sent; a related row, not its key."""
    former, field = form.initial.get(name), form.fields[name]
    if isinstance(field, forms.ModelMultipleChoiceField) or not isinstance(
        field, forms.ModelChoiceField
    ):
        return former
    return field.to_python(former)
