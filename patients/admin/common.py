"""Common parts of the admin pages of the archive."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may
from accounts.admin.audited import AuditedAdmin
from accounts.models import User
from patients.search import MOST_FOUND, Found

SEARCH_HELP = _(
    "Parts of a name, of a patient ID or of an accession number, or a date of birth."
)


def link_to(row: Model | None) -> str | SafeString:
    """Return a link to the row's page in the admin."""
    if row is None:
        return "–"
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return format_html('<a href="{}">{}</a>', reverse(name, args=[row.pk]), row)


def list_link(model: type[Model], lookup: str, key: UUID, words: str) -> SafeString:
    """Return a link to an admin list, filtered by a lookup."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    return format_html('<a href="{}?{}={}">{}</a>', reverse(name), lookup, key, words)


def warn_of_more(page: admin.ModelAdmin, request: HttpRequest, found: Found) -> Found:
    """Tell the user if more rows match a search than it found."""
    if found.more:
        sentence = gettext(
            "More than %(most)d rows match. Search for more or longer words."
        )
        page.message_user(request, sentence % {"most": MOST_FOUND}, messages.WARNING)
    return found


def signed_in(request: HttpRequest) -> User:
    """Return the user of a request to the admin, where somebody is signed in."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class IdentifiedFilter(admin.SimpleListFilter):
    """Filter rows by whether their patient is identified."""

    title = _("patient")
    parameter_name = "identified"
    patient_id_path = "patient_id"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Return the choices."""
        return (("no", _("unidentified")), ("yes", _("identified")))

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Keep the rows of one kind."""
        if self.value() not in ("yes", "no"):
            return queryset
        unidentified = self.value() == "no"
        return queryset.filter(**{f"{self.patient_id_path}__isnull": unidentified})


class ArchiveAdmin(AuditedAdmin):
    """Base of the archive's admin pages; rows are never added by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: only received files add rows."""
        return False

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may resolve conflicts, flags and assignments."""
        return may(request.user, Action.RESOLVE_CONFLICT)
