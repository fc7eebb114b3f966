"""Base class of the admin pages: access by role, read-only by default, audited.

Django's own permissions and log entries are not used: access is decided by
`accounts.access`, and a log entry would keep a patient's name.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from accounts import audit
from accounts.access import Action, may, visible
from accounts.admin.lists import BoundedPaginator, found_rows
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
    paginator = BoundedPaginator
    # Both would count whole tables.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_fields(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> list[Any]:
        """Return the fields; those that hold JSON are folded."""
        return self._folded(super().get_fields(request, obj))

    def get_readonly_fields(
        self, request: HttpRequest, obj: models.Model | None = None
    ) -> list[Any]:
        """Return the fields that are only read; those that hold JSON are folded."""
        return self._folded(super().get_readonly_fields(request, obj))

    def _folded(self, fields: Iterable[Any]) -> list[Any]:
        return [self._folded_json.get(field, field) for field in fields]

    @cached_property
    def _folded_json(self) -> dict[Any, Callable[[models.Model], SafeString]]:
        """Return how each field that holds JSON is shown."""
        return {
            field.name: folded_json(field)
            for field in self.opts.fields
            if isinstance(field, models.JSONField)
        }

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

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        """Return the rows that the user may see."""
        rows = super().get_queryset(request)
        return visible(rows, request.user) if self.patient_path else rows

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
        if not search_term.strip():
            return queryset, False
        found = found_rows(
            queryset,
            search_term,
            keys=self.search_keys,
            lookups=tuple(self.get_search_fields(request)),
            ordering=self.get_ordering(request) or self.opts.ordering or (),
        )
        return found, False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> models.Model | None:
        """Write the audit event, then return the row that the page shows.

        Raises:
            PermissionDenied: The user may not view rows, be there this one or not.
            Http404: There is no such row, or the user may not see it.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        # Django passes an empty `_to_field` on as the name of a field.
        shown = super().get_object(request, object_id, from_field or None)
        if shown is None:
            raise Http404
        self._record(
            request,
            AuditAction.VIEW,
            shown=shown,
            patients=self.patients_on_page(shown),
        )
        return shown

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or change a row; refuse a change before the row is sought.

        Raises:
            PermissionDenied: The user may not change rows.
        """
        if request.method == "POST" and not self.has_change_permission(request):
            raise PermissionDenied
        return super().change_view(request, object_id, form_url, extra_context)

    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Delete a row; refuse before the row is sought.

        Raises:
            PermissionDenied: The user may not delete rows.
        """
        if not self.has_delete_permission(request):
            raise PermissionDenied
        return super().delete_view(request, object_id, extra_context)

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


def folded_json(field: models.JSONField) -> Callable[[models.Model], SafeString]:
    """Return a display function for a field that holds JSON: indented, and folded."""

    @admin.display(description=field.verbose_name)
    def shown(row: models.Model) -> SafeString:
        value = getattr(row, field.name)
        text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
        entries = len(value) if isinstance(value, dict | list) else 1
        words = ngettext("%(count)d entry", "%(count)d entries", entries)
        return format_html(
            '<details class="json"><summary>{}</summary>'
            '<pre tabindex="0">{}</pre></details>',
            words % {"count": entries},
            text,
        )

    return shown
