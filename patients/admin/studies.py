"""Studies in the admin: reconcile flags, assign studies to patients."""

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
from django.utils.text import format_lazy
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, require
from accounts.errors import ChestXError
from patients import resolutions
from patients.admin.common import ArchiveAdmin, link_to, list_link, signed_in
from patients.identity import assignments
from patients.models import Series, Study, StudyFlag
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


class UnidentifiedFilter(admin.SimpleListFilter):
    """Filter studies by whether the patient is identified."""

    title = _("patient")
    parameter_name = "identified"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Return the choices."""
        return (("no", _("unidentified")), ("yes", _("identified")))

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Study]
    ) -> QuerySet[Study]:
        """Keep the studies of one kind."""
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(patient__patient_id__isnull=self.value() == "no")


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


def _reconciling(flag: StudyFlag) -> Callable[..., None]:
    """Return the action that removes one flag from the selected studies."""

    @admin.action(
        description=format_lazy(_("Reconciled: {flag}"), flag=flag.label),
        permissions=["resolve"],
    )
    def reconcile(
        page: admin.ModelAdmin, request: HttpRequest, studies: QuerySet[Study]
    ) -> None:
        user = signed_in(request)
        changed = sum(
            resolutions.reconcile(study, flag, actor=user, request=request)
            for study in studies
        )
        words = ngettext(
            "%(count)d study reconciled.", "%(count)d studies reconciled.", changed
        )
        page.message_user(request, words % {"count": changed}, messages.SUCCESS)

    reconcile.__name__ = f"reconcile_{flag.value}"
    return reconcile


@admin.register(Study)
class StudyAdmin(ArchiveAdmin):
    """Studies; flags are reconciled and patients assigned here."""

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
    search_help_text = _("Beginnings of names, a patient ID or an accession number.")
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
