"""Uploads, conflicts and patient assignments in the admin."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from accounts.admin.lists import StoredValuesFilter
from accounts.api.audited import patient_keys
from accounts.errors import ChestXError
from patients import resolutions
from patients.admin.common import ArchiveAdmin, link_to, signed_in
from patients.identity import assignments
from patients.models import PatientAssignment, Upload

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

_RESOLVED = ngettext_lazy(
    "%(count)d conflict resolved.", "%(count)d conflicts resolved.", "count"
)
_DISCARDED = ngettext_lazy(
    "%(count)d copy discarded.", "%(count)d copies discarded.", "count"
)
_ACCEPTED = ngettext_lazy(
    "%(count)d file accepted.", "%(count)d files accepted.", "count"
)
_UNDONE = ngettext_lazy(
    "%(count)d assignment undone.", "%(count)d assignments undone.", "count"
)


class ConflictFilter(admin.SimpleListFilter):
    """Filter conflicts by whether they are resolved."""

    title = _("conflict")
    parameter_name = "conflict"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Return the choices."""
        return (("open", _("waiting for a decision")), ("resolved", _("resolved")))

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Upload]
    ) -> QuerySet[Upload]:
        """Keep open or resolved conflicts."""
        conflicts = queryset.filter(outcome=Upload.Outcome.CONFLICT)
        if self.value() == "open":
            return conflicts.filter(resolution="")
        return conflicts.exclude(resolution="") if self.value() else queryset


def _each(
    page: admin.ModelAdmin,
    request: HttpRequest,
    rows: QuerySet[Any],
    decide: Callable[..., object],
    done: "_StrPromise",
) -> None:
    """Apply a decision to the selected rows; a row that fails does not stop the rest.

    Args:
        done: A lazy plural with the placeholder `count`.
    """
    decided = 0
    for row in rows:
        try:
            decide(row, actor=signed_in(request), request=request)
        except ChestXError as error:
            page.message_user(request, f"{row}: {error.message}", messages.ERROR)
        else:
            decided += 1
    if decided:
        page.message_user(request, done % {"count": decided}, messages.SUCCESS)


@admin.register(Upload)
class UploadAdmin(ArchiveAdmin):
    """Every received file, and the conflicts that wait for a decision."""

    patient_path = "instance__series__study__patient_id"
    list_display = (
        "created_at",
        "original_name",
        "outcome",
        "reason_sentence",
        "resolution",
        "source",
        "user",
        "department",
        "instance_link",
        "conflicts_with_link",
    )
    list_filter = (
        ConflictFilter,
        "outcome",
        "source",
        ("reason_code", StoredValuesFilter),
        "created_at",
    )
    sortable_by = ("created_at", "original_name")
    list_select_related = ("user", "department", "instance", "conflicts_with")
    search_fields = ("original_name__startswith", "sha256__startswith")
    search_help_text = _("The beginning of the file name or of the SHA-256.")
    actions = ("keep_stored", "discard", "send_again")
    fields = (
        "created_at",
        "user",
        "source",
        "original_name",
        "sha256",
        "size_bytes",
        "outcome",
        "reason_code",
        "reason_sentence",
        "submitted_identity",
        "department",
        "instance_link",
        "conflicts_with_link",
        "resolution",
        "resolved_by",
        "resolved_at",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upload]:
        """Return the uploads without the headers of their instances."""
        return (
            super()
            .get_queryset(request)
            .defer("instance__header", "conflicts_with__header")
        )

    def patients_of(self, rows: Sequence[Model]) -> set[UUID]:
        """Return the patients of the images and of those they conflict with."""
        if not rows:
            return set()
        other = patient_keys(list(rows), "conflicts_with__series__study__patient_id")
        return super().patients_of(rows) | other

    @admin.action(description=_("Keep the stored object"), permissions=["resolve"])
    def keep_stored(self, request: HttpRequest, uploads: QuerySet[Upload]) -> None:
        """Keep the stored objects; the copies stay in quarantine."""
        _each(self, request, uploads, resolutions.keep_stored, _RESOLVED)

    @admin.action(
        description=_("Discard the quarantined copy"), permissions=["resolve"]
    )
    def discard(self, request: HttpRequest, uploads: QuerySet[Upload]) -> None:
        """Keep the stored objects and delete the copies."""
        _each(self, request, uploads, resolutions.discard, _DISCARDED)

    @admin.action(description=_("Send again"), permissions=["resolve"])
    def send_again(self, request: HttpRequest, uploads: QuerySet[Upload]) -> None:
        """Ingest the files again, after the record was corrected."""
        _each(self, request, uploads, resolutions.send_again, _ACCEPTED)

    @admin.display(description=_("reason"), ordering="reason_code")
    def reason_sentence(self, upload: Upload) -> str:
        """Return the reason in the language of the reader."""
        return upload.reason_text

    @admin.display(description=_("stored as"))
    def instance_link(self, upload: Upload) -> str | SafeString:
        """Return a link to the object."""
        return link_to(upload.instance)

    @admin.display(description=_("conflicts with"))
    def conflicts_with_link(self, upload: Upload) -> str | SafeString:
        """Return a link to the object that the upload contradicts."""
        return link_to(upload.conflicts_with)


@admin.register(PatientAssignment)
class PatientAssignmentAdmin(ArchiveAdmin):
    """Studies moved to other patients; the newest move can be undone."""

    patient_path = "to_patient_id"
    list_display = (
        "assigned_at",
        "study_link",
        "from_link",
        "to_link",
        "assigned_by",
        "undone_by",
        "undone_at",
    )
    list_filter = (("undone_at", admin.EmptyFieldListFilter), "assigned_at")
    list_select_related = (
        "study",
        "from_patient",
        "to_patient",
        "assigned_by",
        "undone_by",
    )
    search_fields = ("to_patient__patient_id__startswith",)
    search_help_text = _("The beginning of the ID of the new patient.")
    actions = ("undo",)
    fields = (
        "study_link",
        "from_link",
        "to_link",
        "assigned_by",
        "assigned_at",
        "reason",
        "undone_by",
        "undone_at",
    )
    readonly_fields = fields

    def patients_of(self, rows: Sequence[Model]) -> set[UUID]:
        """Return both patients of each assignment."""
        moves = [row for row in rows if isinstance(row, PatientAssignment)]
        former = {move.from_patient_id for move in moves}
        return former | {move.to_patient_id for move in moves}

    @admin.action(description=_("Undo"), permissions=["resolve"])
    def undo(self, request: HttpRequest, chosen: QuerySet[PatientAssignment]) -> None:
        """Undo the selected assignments."""
        _each(self, request, chosen, assignments.undo_assignment, _UNDONE)

    @admin.display(description=_("study"))
    def study_link(self, assignment: PatientAssignment) -> str | SafeString:
        """Return a link to the study."""
        return link_to(assignment.study)

    @admin.display(description=_("from"))
    def from_link(self, assignment: PatientAssignment) -> str | SafeString:
        """Return a link to the former patient."""
        return link_to(assignment.from_patient)

    @admin.display(description=_("to"))
    def to_link(self, assignment: PatientAssignment) -> str | SafeString:
        """Return a link to the new patient."""
        return link_to(assignment.to_patient)
