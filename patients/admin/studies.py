"""Studies in the admin: reconcile flags, assign studies to patients."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, require
from accounts.errors import ChestXError
from patients import resolutions
from patients.admin.common import (
    SEARCH_HELP,
    ArchiveAdmin,
    IdentifiedFilter,
    link_to,
    list_link,
    signed_in,
    warn_of_more,
)
from patients.identity import assignments
from patients.identity.discrepancies import value_text
from patients.models import (
    FlagReconciliation,
    IdentityDiscrepancy,
    Series,
    Study,
    StudyFlag,
)
from patients.search import studies_found


class FlagFilter(admin.SimpleListFilter):
    """Filter studies by flag."""

    title = _("flag")
    parameter_name = "flag"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Return the flags."""
        return StudyFlag.choices

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Study]
    ) -> QuerySet[Study]:
        """Keep the studies with the flag."""
        return (
            queryset.filter(flags__contains=[self.value()])
            if self.value()
            else queryset
        )


class OfIdentifiedFilter(IdentifiedFilter):
    """Filter studies by whether the patient is identified."""

    patient_id_path = "patient__patient_id"


class AssignmentForm(forms.Form):
    """The patient that a study is assigned to."""

    patient_id = forms.CharField(
        label=_("Patient ID"),
        max_length=64,
        help_text=_("The identifier that the hospital uses."),
    )
    issuer = forms.CharField(
        label=_("Issuer"),
        max_length=64,
        required=False,
        help_text=_("Empty: this hospital."),
    )
    reason = forms.CharField(
        label=_("Reason"), max_length=1000, widget=forms.Textarea({"rows": 2})
    )


class ReconciliationForm(forms.Form):
    """What a person found about the flags of a study."""

    flag = forms.ChoiceField(label=_("Flag"))
    choice = forms.ChoiceField(
        label=_("Decision"),
        choices=FlagReconciliation.Choice.choices,
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(
        label=_("Reason"), max_length=1000, widget=forms.Textarea({"rows": 2})
    )

    def __init__(self, study: Study, data: Any = None) -> None:
        super().__init__(data)
        flags = [(flag, StudyFlag(flag).label) for flag in study.flags]
        self.fields["flag"] = forms.ChoiceField(label=_("Flag"), choices=flags)


def _both_texts(one: IdentityDiscrepancy) -> tuple[str, str]:
    """Return the received and the recorded value as people write them."""
    return (
        value_text(one.attribute, one.received),
        value_text(one.attribute, one.recorded),
    )


@admin.register(Study)
class StudyAdmin(ArchiveAdmin):
    """Studies; flags are reconciled and patients assigned here."""

    patient_path = "patient_id"
    link_lookups = ("patient__id__exact",)
    list_display = (
        "received_at",
        "patient_link",
        "accession_number",
        "study_date",
        "description",
        "priority",
        "department",
        "flag_words",
    )
    list_display_links = ("received_at",)
    list_filter = (
        FlagFilter,
        OfIdentifiedFilter,
        "priority",
        "department",
        "received_at",
    )
    list_select_related = ("patient",)
    sortable_by = ("received_at", "accession_number", "study_date")
    search_fields = ("accession_number",)
    search_help_text = SEARCH_HELP
    fields = (
        "patient_link",
        "assign_link",
        "received_patient_id",
        "received_issuer",
        "received_name",
        "received_birth_date",
        "received_sex",
        "study_instance_uid",
        "accession_number",
        "accession_issuer",
        "study_date",
        "study_time",
        "timezone_offset",
        "description",
        "referring_physician",
        "priority",
        "department",
        "flag_words",
        "discrepancy_words",
        "reconcile_link",
        "reconciliation_words",
        "received_at",
        "series_link",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Study]:
        """Return the studies; the few departments are read once for a page."""
        return super().get_queryset(request).prefetch_related("department")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Study], search_term: str
    ) -> tuple[QuerySet[Study], bool]:
        """Find by patient or accession number, as the pages do."""
        if not search_term.strip():
            return queryset, False
        found = warn_of_more(self, request, studies_found(search_term))
        return queryset.filter(found.of("pk")), False

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, with those that assign a patient and reconcile flags."""
        assign = path(
            "<uuid:study_id>/assign/",
            self.admin_site.admin_view(self.assign_view),
            name="patients_study_assign",
        )
        reconcile = path(
            "<uuid:study_id>/reconcile/",
            self.admin_site.admin_view(self.reconcile_view),
            name="patients_study_reconcile",
        )
        return [assign, reconcile, *super().get_urls()]

    def reconcile_view(self, request: HttpRequest, study_id: UUID) -> HttpResponse:
        """Ask for a decision about a flag, and remove it."""
        require(request, Action.RESOLVE_CONFLICT)
        study = self.get_object(request, str(study_id))
        if not isinstance(study, Study):
            raise Http404
        form = ReconciliationForm(study, request.POST or None)
        if request.method == "POST" and form.is_valid():
            resolutions.reconcile(
                study,
                StudyFlag(form.cleaned_data["flag"]),
                choice=FlagReconciliation.Choice(form.cleaned_data["choice"]),
                reason=form.cleaned_data["reason"],
                actor=signed_in(request),
                request=request,
            )
            self.message_user(
                request, gettext("The flag was reconciled."), messages.SUCCESS
            )
            return redirect("admin:patients_study_change", study.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Reconcile a flag"),
            "opts": self.opts,
            "study": study,
            "discrepancies": [
                (one.get_attribute_display(), *_both_texts(one))
                for one in study.discrepancies.all()
            ],
            "form": form,
        }
        return TemplateResponse(request, "admin/patients/study/reconcile.html", context)

    def assign_view(self, request: HttpRequest, study_id: UUID) -> HttpResponse:
        """Ask for a patient ID and move the study to that patient."""
        require(request, Action.RESOLVE_CONFLICT)
        study = self.get_object(request, str(study_id))
        if not isinstance(study, Study):
            raise Http404
        form = AssignmentForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                assignments.assign_study(
                    study,
                    actor=signed_in(request),
                    request=request,
                    **form.cleaned_data,
                )
            except ChestXError as error:
                form.add_error(None, error.message)
            else:
                self.message_user(
                    request, gettext("The study was assigned."), messages.SUCCESS
                )
                return redirect("admin:patients_study_change", study.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Assign the study to a patient"),
            "opts": self.opts,
            "study": study,
            "form": form,
        }
        return TemplateResponse(request, "admin/patients/study/assign.html", context)

    @admin.display(description=_("patient"), ordering="patient__name_folded")
    def patient_link(self, study: Study) -> str | SafeString:
        """Return a link to the patient."""
        return link_to(study.patient)

    @admin.display(description=_("another patient?"))
    def assign_link(self, study: Study) -> SafeString:
        """Return a link to the form that assigns the study."""
        url = reverse("admin:patients_study_assign", args=[study.pk])
        return format_html('<a href="{}">{}</a>', url, gettext("Assign to a patient"))

    @admin.display(description=_("series"))
    def series_link(self, study: Study) -> SafeString:
        """Return a link to the study's series."""
        return list_link(
            Series, "study__id__exact", study.pk, gettext("Series of this study")
        )

    @admin.display(description=_("flags"))
    def flag_words(self, study: Study) -> str:
        """Return the flags as text."""
        return "; ".join(str(StudyFlag(flag).label) for flag in study.flags)

    @admin.display(description=_("values that differ"))
    def discrepancy_words(self, study: Study) -> str | SafeString:
        """Return the received and the recorded values."""
        return format_html_join(
            mark_safe("<br>"),
            "{}: {} | {}",
            (
                (one.get_attribute_display(), *_both_texts(one))
                for one in study.discrepancies.all()
            ),
        ) or gettext("none")

    @admin.display(description=_("checked?"))
    def reconcile_link(self, study: Study) -> str | SafeString:
        """Return a link to the form that reconciles a flag."""
        if not study.flags:
            return gettext("There is no flag.")
        url = reverse("admin:patients_study_reconcile", args=[study.pk])
        return format_html('<a href="{}">{}</a>', url, gettext("Reconcile a flag"))

    @admin.display(description=_("decisions"))
    def reconciliation_words(self, study: Study) -> str | SafeString:
        """Return who decided what about a flag, when and why."""
        return format_html_join(
            mark_safe("<br>"),
            "{}: {} ({}, {}, {})",
            (
                (
                    one.get_flag_display(),
                    one.get_choice_display(),
                    one.reason,
                    one.reconciled_by,
                    date_format(localtime(one.reconciled_at), "DATETIME_FORMAT"),
                )
                for one in study.reconciliations.select_related("reconciled_by")
            ),
        ) or gettext("none")


@admin.register(IdentityDiscrepancy)
class IdentityDiscrepancyAdmin(ArchiveAdmin):
    """Values that differ from the record, until a person decides."""

    patient_path = "study__patient_id"
    list_display = (
        "created_at",
        "study_link",
        "attribute",
        "received_text",
        "recorded_text",
    )
    list_filter = ("attribute", "created_at")
    list_select_related = ("study",)
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)
    search_keys = ("study",)
    search_fields = (
        "study__accession_number__exact",
        "study__patient__patient_id__exact",
    )
    search_help_text = _("The key of a study, an accession number or an MRN.")
    fields = ("study_link", "attribute", "received_text", "recorded_text", "created_at")
    readonly_fields = fields

    @admin.display(description=_("study"))
    def study_link(self, discrepancy: IdentityDiscrepancy) -> str | SafeString:
        """Return a link to the study."""
        return link_to(discrepancy.study)

    @admin.display(description=_("received value"), ordering="received")
    def received_text(self, discrepancy: IdentityDiscrepancy) -> str:
        """Return what the image states."""
        return _both_texts(discrepancy)[0]

    @admin.display(description=_("recorded value"), ordering="recorded")
    def recorded_text(self, discrepancy: IdentityDiscrepancy) -> str:
        """Return what the record has."""
        return _both_texts(discrepancy)[1]


@admin.register(FlagReconciliation)
class FlagReconciliationAdmin(ArchiveAdmin):
    """Decisions about flags."""

    patient_path = "patient_id"
    list_display = (
        "reconciled_at",
        "study_link",
        "flag",
        "choice",
        "reason",
        "reconciled_by",
    )
    list_filter = ("flag", "choice", "reconciled_at")
    list_select_related = ("study", "reconciled_by")
    search_fields = ("patient__patient_id__startswith",)
    search_help_text = _("The beginning of the ID of the patient.")
    fields = (
        "study_link",
        "flag",
        "choice",
        "reason",
        "values",
        "reconciled_by",
        "reconciled_at",
    )
    readonly_fields = fields

    @admin.display(description=_("study"))
    def study_link(self, reconciliation: FlagReconciliation) -> str | SafeString:
        """Return a link to the study."""
        return link_to(reconciliation.study)
