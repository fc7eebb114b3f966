"""Admin of runs, findings, heat maps and the worklist."""

from typing import Any

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.access import Action, may, signed_in_user
from accounts.admin.audited import AuditedAdmin
from accounts.admin.lists import StoredValuesFilter
from accounts.audit import AuditSource
from accounts.errors import ChestXError
from diagnoses.models import Finding, HeatMap, Prediction, WorklistEntry
from diagnoses.worker.retries import retry_for
from patients.models import Study


def study_link(study: Study) -> SafeString:
    """Return a link to the study's page."""
    return format_html('<a href="{}">{}</a>', reverse("study", args=[study.pk]), study)


def admin_link(row: models.Model) -> SafeString:
    """Return a link to the admin page of the row."""
    view = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return format_html('<a href="{}">{}</a>', reverse(view, args=[row.pk]), row)


class FindingInline(admin.TabularInline):
    """The findings of a run."""

    model = Finding
    template = "admin/read_only_inline.html"
    fields = ("label", "probability", "calibrated", "threshold", "positive")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow everyone who may see the run."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a run writes findings."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits findings."""
        return False


class OfAImage(AuditedAdmin):
    """Rows of one image, with links to its study and image."""

    @admin.display(description=_("study"))
    def study(self, row: Any) -> SafeString:
        """Return a link to the study's page."""
        return study_link(self.instance_of(row).series.study)

    @admin.display(description=_("image"))
    def image(self, row: Any) -> SafeString:
        """Return a link to the instance."""
        return admin_link(self.instance_of(row))

    def instance_of(self, row: Any) -> Any:
        """Return the image of the row."""
        return row.instance


@admin.register(Prediction)
class PredictionAdmin(OfAImage):
    """Runs and their queue entries."""

    patient_path = "instance__series__study__patient_id"
    inlines = (FindingInline,)
    actions = ("retry",)
    list_display = (
        "short_key",
        "study",
        "status",
        "reason_shown",
        "priority",
        "model_version",
        "run",
        "shadow",
        "queued_at",
        "finished_at",
    )
    list_filter = (
        "status",
        "shadow",
        "priority",
        "model_version",
        ("reason_code", StoredValuesFilter),
        "queued_at",
    )
    sortable_by = ("queued_at", "finished_at")
    list_select_related = ("model_version", "instance__series__study")
    search_keys = ("id", "instance", "instance__series__study")
    search_fields = (
        "instance__sop_instance_uid__exact",
        "instance__series__study__accession_number__exact",
        "instance__series__study__patient__patient_id__exact",
    )
    search_help_text = _("A key, a SOP Instance UID, an accession number or an MRN.")
    fields = (
        "study",
        "image",
        "frame",
        "model_version",
        "run",
        "shadow",
        "status",
        "reason_code",
        "reason_shown",
        "priority",
        "attempt",
        "lost_workers",
        "worker",
        "requested_by",
        "queued_at",
        "not_before",
        "started_at",
        "lease_expires_at",
        "finished_at",
        "milliseconds",
        "pixel_sha256",
        "input_sha256",
        "geometry",
        "provenance",
    )
    readonly_fields = fields

    @admin.display(description=_("reason"), ordering="reason_code")
    def reason_shown(self, prediction: Prediction) -> str:
        """Return why it was rejected or failed, as a sentence."""
        return prediction.reason_text

    @admin.display(description=_("key"))
    def short_key(self, prediction: Prediction) -> str:
        """Return enough of the key to tell runs apart."""
        return str(prediction.pk)[:8]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Prediction]:
        """Return the runs without their large columns: headers and cards."""
        runs = super().get_queryset(request)
        return runs.defer("instance__header", "model_version__card")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user's role may run it again."""
        return may(request.user, Action.RETRY_PREDICTION)

    @admin.action(description=_("Run again (failed runs only)"), permissions=("retry",))
    def retry(
        self, request: HttpRequest, queryset: models.QuerySet[Prediction]
    ) -> None:
        """Queue another run of each selected run that failed."""
        queued = 0
        for prediction in queryset:
            try:
                retry_for(
                    signed_in_user(request),
                    prediction,
                    source=AuditSource.ADMIN,
                    request=request,
                )
                queued += 1
            except ChestXError as error:
                if not error.permanent:
                    raise
                warning = f"{prediction.pk}: {error.message}"
                self.message_user(request, warning, messages.WARNING)
        if queued:
            done = ngettext("%(count)d run queued.", "%(count)d runs queued.", queued)
            self.message_user(request, done % {"count": queued})


@admin.register(Finding)
class FindingAdmin(OfAImage):
    """Findings of runs."""

    patient_path = "prediction__instance__series__study__patient_id"
    list_display = (
        "label",
        "probability",
        "threshold",
        "positive",
        "calibrated",
        "run",
        "study",
    )
    # Without filters: there are many findings for each image, and an index for each
    # filter would cost more than it gives. REST lists runs by positive findings.
    ordering = ("prediction_id", "position")
    sortable_by = ()
    list_select_related = (
        "prediction__model_version",
        "prediction__instance__series__study",
    )
    search_keys = ("prediction", "prediction__instance__series__study")
    search_fields = (
        "prediction__instance__series__study__accession_number__exact",
        "prediction__instance__series__study__patient__patient_id__exact",
    )
    search_help_text = _("The key of a run, an accession number or an MRN.")
    fields = (
        "study",
        "image",
        "run",
        "label",
        "probability",
        "calibrated",
        "threshold",
        "threshold_source",
        "operating_point",
        "positive",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Finding]:
        """Return the findings without their large columns: headers and cards."""
        findings = super().get_queryset(request)
        return findings.defer(
            "prediction__instance__header", "prediction__model_version__card"
        )

    def instance_of(self, row: Finding) -> Any:
        """Return the image of the finding."""
        return row.prediction.instance

    @admin.display(description=_("run"))
    def run(self, finding: Finding) -> SafeString:
        """Return a link to the run."""
        return admin_link(finding.prediction)


@admin.register(HeatMap)
class HeatMapAdmin(AuditedAdmin):
    """Sizes of heat maps. The pictures are on the study's page."""

    patient_path = "finding__prediction__instance__series__study__patient_id"
    list_display = ("finding", "rows", "columns", "scale")
    list_select_related = ("finding",)
    search_keys = ("finding", "finding__prediction")
    # By key only; without search fields Django shows no form.
    search_fields = search_keys
    search_help_text = _("The key of a finding or a run.")
    ordering = ("finding_id",)
    sortable_by = ()
    fields = ("finding", "rows", "columns", "scale")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[HeatMap]:
        """Return the heat maps without their grids."""
        return super().get_queryset(request).defer("values")


@admin.register(WorklistEntry)
class WorklistEntryAdmin(AuditedAdmin):
    """The stored rows of the worklist."""

    patient_path = "study__patient_id"
    list_display = (
        "study",
        "status",
        "priority",
        "department",
        "images",
        "images_waiting",
        "images_unread",
        "flagged",
        "label",
        "received_at",
    )
    list_filter = ("status", "priority", "department")
    list_select_related = ("study", "department")
    search_keys = ("study", "study__patient")
    search_fields = (
        "study__accession_number__exact",
        "study__patient__patient_id__exact",
    )
    ordering = ("-received_at", "-study_id")
    sortable_by = ("received_at",)
    search_help_text = _("An accession number or an MRN.")
    fields = (
        "study",
        "department",
        "priority",
        "received_at",
        "status",
        "images",
        "images_waiting",
        "images_unread",
        "flagged",
        "label",
        "models_flagging",
        "models_reading",
        "highest",
        "prediction",
        "finding",
        "image_number",
        "models_in_use",
    )
    readonly_fields = fields
