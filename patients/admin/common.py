"""What the admin pages of the archive have in common."""

from uuid import UUID

from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import Action, may
from accounts.admin.audited import AuditedAdmin


def link_to(row: Model | None) -> str | SafeString:
    """Return a link to the row's page in the admin."""
    if row is None:
        return "–"
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return format_html('<a href="{}">{}</a>', reverse(name, args=[row.pk]), row)


def list_link(model: type[Model], lookup: str, key: UUID, words: str) -> SafeString:
    """Return a link to a list of the admin, limited to what belongs to the key."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    return format_html('<a href="{}?{}={}">{}</a>', reverse(name), lookup, key, words)


class ArchiveAdmin(AuditedAdmin):
    """Rows of the archive, for those who administer; nothing is added by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only files make rows."""
        return False

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        """Whether the user may decide about conflicts, flags and assignments."""
        return may(request.user, Action.RESOLVE_CONFLICT)
