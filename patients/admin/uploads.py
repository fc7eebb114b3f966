"""Files that were sent, conflicts to be resolved, and assignments to be undone."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.api.audited import patient_keys
from accounts.errors import ChestXError
from patients import resolutions
from patients.admin.common import ArchiveAdmin, link_to
from patients.identity import assignments
from patients.models import PatientAssignment, Upload


class ConflictFilter(admin.SimpleListFilter):
    """Conflicts that wait for a decision."""

    title = "conflict"
    parameter_name = "conflict"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Return the two kinds."""
        return (("open", "waits for a decision"), ("resolved", "resolved"))

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Upload]
    ) -> QuerySet[Upload]:
        """Keep the conflicts of one kind."""
        conflicts = queryset.filter(outcome=Upload.Outcome.CONFLICT)
        if self.value() == "open":
            return conflicts.filter(resolution="")
        return conflicts.exclude(resolution="") if self.value() else queryset


def _each(
    page: admin.ModelAdmin,
    request: HttpRequest,
    rows: QuerySet[Any],
    decide: Callable[..., object],
    done: str,
) -> None:
    """Decide about the chosen rows one by one; one that cannot be stops no other."""
    decided = 0
    for row in rows:
        try:
            decide(row, actor=request.user, request=request)
        except ChestXError as error:
            page.message_user(request, f"{row}: {error.message}", messages.ERROR)
        else:
            decided += 1
    if decided:
        page.message_user(request, f"{decided} {done}.", messages.SUCCESS)


@admin.register(Upload)
class UploadAdmin(ArchiveAdmin):
    """Every file that was sent, and the conflicts that wait for a decision."""

    patient_path = "instance__series__study__patient_id"
    list_display = (
        "created_at",
        "original_name",
        "outcome",
        "reason_code",
        "resolution",
        "source",
        "user",
        "department",
        "instance_link",
        "conflicts_with_link",
    )
    list_filter = (ConflictFilter, "outcome", "source", "reason_code", "created_at")
    list_select_related = ("user", "department", "instance", "conflicts_with")
    search_fields = ("original_name", "sha256__startswith")
    search_help_text = "Part of the file's name, or the beginning of its sha256."
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
        "reason",
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
        """Return the files without the headers of what they belong to."""
        return (
            super()
            .get_queryset(request)
            .defer("instance__header", "conflicts_with__header")
        )

    def patients_of(self, rows: Sequence[Model]) -> set[UUID]:
        """Return whose images these are, and whose they conflict with."""
        if not rows:
            return set()
        other = patient_keys(list(rows), "conflicts_with__series__study__patient_id")
        return super().patients_of(rows) | other

    @admin.action(description="Keep the stored object", permissions=["resolve"])
    def keep_stored(self, request: HttpRequest, uploads: QuerySet[Upload]) -> None:
        """Decide for the stored objects; the copies stay in quarantine."""
        _each(self, request, uploads, resolutions.keep_stored, "conflicts resolved")

    @admin.action(description="Discard the quarantined copy", permissions=["resolve"])
    def discard(self, request: HttpRequest, uploads: QuerySet[Upload]) -> None:
        """Decide for the stored objects, and delete the copies."""
        _each(self, request, uploads, resolutions.discard, "copies discarded")

    @admin.action(description="Send again", permissions=["resolve"])
    def send_again(self, request: HttpRequest, uploads: QuerySet[Upload]) -> None:
        """Take the files in as if they came now, after the record was corrected."""
        _each(self, request, uploads, resolutions.send_again, "files taken in")

    @admin.display(description="stored as")
    def instance_link(self, upload: Upload) -> str | SafeString:
        """Return a link to the object."""
        return link_to(upload.instance)

    @admin.display(description="conflicts with")
    def conflicts_with_link(self, upload: Upload) -> str | SafeString:
        """Return a link to the object that it contradicts."""
        return link_to(upload.conflicts_with)


@admin.register(PatientAssignment)
class PatientAssignmentAdmin(ArchiveAdmin):
    """Which studies were given to which patients, by whom; the newest can be undone."""

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
    search_help_text = "The beginning of the identifier of the patient assigned to."
    actions = ("undo",)
    fields = (
        "study_link",
        "from_link",
        "to_link",
        "assigned_by",
        "assigned_at",
        "undone_by",
        "undone_at",
    )
    readonly_fields = fields

    def patients_of(self, rows: Sequence[Model]) -> set[UUID]:
        """Return both patients of each assignment."""
        former = {row.from_patient_id for row in rows}
        return former | {row.to_patient_id for row in rows}

    @admin.action(description="Undo", permissions=["resolve"])
    def undo(self, request: HttpRequest, chosen: QuerySet[PatientAssignment]) -> None:
        """Give the studies back."""
        _each(self, request, chosen, assignments.undo_assignment, "assignments undone")

    @admin.display(description="study")
    def study_link(self, assignment: PatientAssignment) -> str | SafeString:
        """Return a link to the study."""
        return link_to(assignment.study)

    @admin.display(description="from")
    def from_link(self, assignment: PatientAssignment) -> str | SafeString:
        """Return a link to the patient it was taken from."""
        return link_to(assignment.from_patient)

    @admin.display(description="to")
    def to_link(self, assignment: PatientAssignment) -> str | SafeString:
        """Return a link to the patient it was given to."""
        return link_to(assignment.to_patient)
