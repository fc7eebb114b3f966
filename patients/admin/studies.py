"""Studies in the admin: flags are reconciled, unidentified ones get their patient."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import Action, require
from accounts.errors import ChestXError
from patients import resolutions
from patients.admin.common import ArchiveAdmin, link_to, list_link
from patients.identity import assignments
from patients.models import Series, Study, StudyFlag
from patients.search import studies_found


class FlagFilter(admin.SimpleListFilter):
    """Studies that a person should look at."""

    title = "flag"
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


class UnidentifiedFilter(admin.SimpleListFilter):
    """Studies whose patient is not known yet."""

    title = "patient"
    parameter_name = "identified"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Return the two kinds."""
        return (("no", "unidentified"), ("yes", "identified"))

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Study]
    ) -> QuerySet[Study]:
        """Keep the studies of one kind."""
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(patient__patient_id__isnull=self.value() == "no")


class AssignmentForm(forms.Form):
    """Whose study it is."""

    patient_id = forms.CharField(max_length=64, help_text="The hospital's identifier.")
    issuer = forms.CharField(
        max_length=64, required=False, help_text="Empty: the hospital's own."
    )


def _reconciling(flag: StudyFlag) -> Callable[..., None]:
    """Return the action that takes one flag off the chosen studies."""

    @admin.action(description=f"Reconciled: {flag.label}", permissions=["resolve"])
    def reconcile(
        page: admin.ModelAdmin, request: HttpRequest, studies: QuerySet[Study]
    ) -> None:
        changed = sum(
            resolutions.reconcile(study, flag, actor=request.user, request=request)
            for study in studies
        )
        page.message_user(request, f"{changed} studies reconciled.", messages.SUCCESS)

    reconcile.__name__ = f"reconcile_{flag.value}"
    return reconcile


@admin.register(Study)
class StudyAdmin(ArchiveAdmin):
    """Examinations: flags are reconciled here, and studies get their patient."""

    patient_path = "patient_id"
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
        UnidentifiedFilter,
        "priority",
        "department",
        "received_at",
    )
    list_select_related = ("patient", "department")
    search_fields = ("accession_number",)
    search_help_text = "Beginnings of names, an identifier or an accession number."
    actions = tuple(_reconciling(flag) for flag in StudyFlag)
    fields = (
        "patient_link",
        "assign_link",
        "received_patient_id",
        "received_issuer",
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
        "received_at",
        "series_link",
    )
    readonly_fields = fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Study], search_term: str
    ) -> tuple[QuerySet[Study], bool]:
        """Find by patient or accession number, as the pages do."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(pk__in=studies_found(search_term)), False

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, with the one that assigns a patient."""
        assign = path(
            "<uuid:study_id>/assign/",
            self.admin_site.admin_view(self.assign_view),
            name="patients_study_assign",
        )
        return [assign, *super().get_urls()]

    def assign_view(self, request: HttpRequest, study_id: UUID) -> HttpResponse:
        """Ask for the patient's identifier, and move the study there."""
        require(request, Action.RESOLVE_CONFLICT)
        study = self.get_object(request, str(study_id))
        if study is None:
            raise Http404
        form = AssignmentForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                assignments.assign_study(
                    study, actor=request.user, request=request, **form.cleaned_data
                )
            except ChestXError as error:
                form.add_error(None, error.message)
            else:
                self.message_user(request, "The study was assigned.", messages.SUCCESS)
                return redirect("admin:patients_study_change", study.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": "Assign the study to a patient",
            "opts": self.opts,
            "study": study,
            "form": form,
        }
        return TemplateResponse(request, "admin/patients/study/assign.html", context)

    @admin.display(description="patient", ordering="patient__name_folded")
    def patient_link(self, study: Study) -> str | SafeString:
        """Return a link to the patient."""
        return link_to(study.patient)

    @admin.display(description="belongs to somebody else?")
    def assign_link(self, study: Study) -> SafeString:
        """Return a link to the form that assigns the study."""
        url = reverse("admin:patients_study_assign", args=[study.pk])
        return format_html('<a href="{}">Assign to a patient</a>', url)

    @admin.display(description="series")
    def series_link(self, study: Study) -> SafeString:
        """Return a link to the study's series."""
        return list_link(Series, "study__id__exact", study.pk, "Series of this study")

    @admin.display(description="flags")
    def flag_words(self, study: Study) -> str:
        """Return what a person should look at."""
        return "; ".join(StudyFlag(flag).label for flag in study.flags)
