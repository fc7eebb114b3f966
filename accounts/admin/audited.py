"""Base class of the admin pages: access by role, read-only by default, audited.

Django's own permissions and log entries are not used: access is decided by
`accounts.access`, and a log entry would keep a patient's name.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from accounts import audit
from accounts.access import Action, may
from accounts.api.audited import patient_keys
from accounts.audit import AuditAction, AuditSource


class AuditedAdmin(admin.ModelAdmin):
    """A ModelAdmin that writes an audit event before it shows a list or a page.

    Attributes:
        patient_path: The lookup from the model to its patient's key ("pk",
            "study__patient_id"); None if the rows hold no patient data.
        view_action: The action that viewing needs.
        editable: Whether administrators may add and change rows.
        deletable: Whether administrators may delete rows.
        search_keys: Lookups of keys, searched if the term is a UUID.
    """

    patient_path: str | None = None
    view_action = Action.ADMINISTER
    editable = False
    deletable = False
    search_keys: Sequence[str] = ()
    list_per_page = 50
    # The full count is a second query over a hundred thousand rows.
    show_full_result_count = False

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

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Write the audit event with the listed patients, then return the list."""
        if any("\x00" in value for value in request.GET.values()):
            raise IncorrectLookupParameters("PostgreSQL text cannot hold NUL.")
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
        shown = super().get_object(request, object_id, from_field)
        if shown is not None:
            self._record(
                request,
                AuditAction.VIEW,
                shown=shown,
                patients=self.patients_of([shown]),
            )
        return shown

    def patients_of(self, rows: Sequence[models.Model]) -> set[UUID]:
        """Return the patients' keys of these rows, in one query."""
        if self.patient_path is None or not rows:
            return set()
        if self.patient_path == "pk":
            return {row.pk for row in rows}
        return patient_keys(list(rows), self.patient_path)

    # The audit trail replaces Django's log entries, so these three return none.
    def log_addition(  # type: ignore[override]
        self, request: HttpRequest, obj: models.Model, message: Any
    ) -> None:
        """Record a new row in the audit trail, in place of Django's own log."""
        self._record_change(request, AuditAction.CREATE, obj, message)

    def log_change(  # type: ignore[override]
        self, request: HttpRequest, obj: models.Model, message: Any
    ) -> None:
        """Record a changed row in the audit trail, with the names of its fields."""
        self._record_change(request, AuditAction.CHANGE, obj, message)

    def log_deletions(  # type: ignore[override]
        self, request: HttpRequest, queryset: Iterable[models.Model]
    ) -> None:
        """Record each deleted row in the audit trail."""
        for row in queryset:
            self._record_change(request, AuditAction.DELETE, row, "")

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
        self, request: HttpRequest, action: str, row: models.Model, message: Any
    ) -> None:
        self._record(
            request,
            action,
            shown=row,
            patients=self.patients_of([row]),
            detail={"changed": _changed_fields(message)},
        )

    def _record(
        self,
        request: HttpRequest,
        action: str,
        *,
        patients: Iterable[UUID],
        shown: models.Model | None = None,
        detail: dict[str, object] | None = None,
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
        )


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


def _changed_fields(message: Any) -> list[str]:
    """Return the field names of Django's change message, never the values."""
    if not isinstance(message, list):
        return []
    return sorted(
        {
            field
            for part in message
            for change in part.values()
            for field in change.get("fields", ())
        }
    )
