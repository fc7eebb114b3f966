"""Patients in the admin."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import label_for_field
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.admin.lists import StoredValuesFilter
from accounts.audit import Change
from accounts.errors import ChestXError
from patients.admin.common import (
    SEARCH_HELP,
    ArchiveAdmin,
    IdentifiedFilter,
    link_to,
    list_link,
    signed_in,
    warn_of_more,
)
from patients.identity import corrections, names
from patients.identity.discrepancies import value_text
from patients.models import Patient, PatientCorrection, Study
from patients.search import patients_found


class CorrectionForm(forms.ModelForm):
    """The data of a patient, and why they change."""

    reason = forms.CharField(
        label=_("Reason for the correction"),
        max_length=1000,
        widget=forms.Textarea({"rows": 2}),
    )

    class Meta:
        model = Patient
        fields = corrections.CORRECTABLE

    def clean(self) -> dict[str, Any]:
        """Refuse a form that changes nothing, and an empty identifier."""
        values = super().clean() or {}
        if not set(self.changed_data) & set(corrections.CORRECTABLE):
            raise forms.ValidationError(_("Nothing was changed."))
        if self.instance.patient_id and not values.get("patient_id"):
            self.add_error(
                "patient_id", _("A patient keeps an ID. Enter the right one.")
            )
        return values


@admin.register(Patient)
class PatientAdmin(ArchiveAdmin):
    """Patients; each correction has a reason, keeps the old values, can be undone."""

    form = CorrectionForm
    patient_path = "pk"
    editable = True
    list_display = (
        "name_shown",
        "patient_id",
        "issuer",
        "birth_date",
        "sex",
        "studies_link",
    )
    list_filter = (("issuer", StoredValuesFilter), "sex", IdentifiedFilter)
    sortable_by = ("patient_id", "birth_date")
    search_fields = ("name_folded",)
    search_help_text = SEARCH_HELP
    fields = (
        "patient_id",
        "issuer",
        *names.COLUMNS.values(),
        "birth_date",
        "sex",
        "reason",
        "created_at",
        "studies_link",
        "corrections_link",
    )
    readonly_fields = ("created_at", "studies_link", "corrections_link")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Patient]:
        """Return patients with the number of their studies."""
        studies = Study.objects.filter(patient=OuterRef("pk")).order_by()
        counted = studies.values("patient").annotate(count=Count("pk")).values("count")
        return (
            super()
            .get_queryset(request)
            .annotate(studies_count=Coalesce(Subquery(counted), 0))
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Patient], search_term: str
    ) -> tuple[QuerySet[Patient], bool]:
        """Find by name, identifier or accession number, as the pages do."""
        if not search_term.strip():
            return queryset, False
        found = warn_of_more(self, request, patients_found(search_term))
        return queryset.filter(found.of("pk")), False

    def save_model(
        self, request: HttpRequest, obj: Patient, form: forms.ModelForm, change: bool
    ) -> None:
        """Keep the change as a correction."""
        changes = {
            name: form.cleaned_data[name]
            for name in form.changed_data
            if name in corrections.CORRECTABLE
        }
        corrections.correct_patient(
            Patient.objects.get(pk=obj.pk),
            changes,
            actor=signed_in(request),
            reason=form.cleaned_data["reason"],
            request=request,
        )

    def _record_change(
        self, request: HttpRequest, action: str, row: Model, changes: Sequence[Change]
    ) -> None:
        """Write nothing more: the correction has its audit event."""

    @admin.display(description=_("name"))
    def name_shown(self, patient: Patient) -> str:
        """Return the name as all pages show it."""
        return patient.display_name

    @admin.display(description=_("corrections"))
    def corrections_link(self, patient: Patient) -> SafeString:
        """Return a link to the corrections of the patient."""
        words = gettext("Corrections of this patient")
        return list_link(PatientCorrection, "patient__id__exact", patient.pk, words)

    @admin.display(description=_("studies"))
    def studies_link(self, patient: Patient) -> SafeString:
        """Return a link to the patient's studies."""
        count: int = getattr(patient, "studies_count", 0)
        words = ngettext("%(count)d study", "%(count)d studies", count)
        return list_link(
            Study, "patient__id__exact", patient.pk, words % {"count": count}
        )


@admin.register(PatientCorrection)
class PatientCorrectionAdmin(ArchiveAdmin):
    """Corrections of patients; the newest of a patient can be undone."""

    patient_path = "patient_id"
    link_lookups = ("patient__id__exact",)
    list_display = (
        "corrected_at",
        "patient_link",
        "changed_words",
        "reason",
        "corrected_by",
        "undone_by",
    )
    list_filter = (("undone_at", admin.EmptyFieldListFilter), "corrected_at")
    list_select_related = ("patient", "corrected_by", "undone_by")
    search_fields = ("patient__patient_id__startswith",)
    search_help_text = _("The beginning of the ID of the patient.")
    actions = ("undo",)
    fields = (
        "patient_link",
        "changed_words",
        "reason",
        "corrected_by",
        "corrected_at",
        "undone_by",
        "undone_at",
    )
    readonly_fields = fields

    @admin.action(description=_("Undo"), permissions=["resolve"])
    def undo(self, request: HttpRequest, chosen: QuerySet[PatientCorrection]) -> None:
        """Undo the selected corrections."""
        for correction in chosen:
            try:
                corrections.undo_correction(
                    correction, actor=signed_in(request), request=request
                )
            except ChestXError as error:
                self.message_user(request, error.message, messages.ERROR)
            else:
                self.message_user(
                    request, gettext("The correction was undone."), messages.SUCCESS
                )

    @admin.display(description=_("patient"))
    def patient_link(self, correction: PatientCorrection) -> str | SafeString:
        """Return a link to the patient."""
        return link_to(correction.patient)

    @admin.display(description=_("changes"))
    def changed_words(self, correction: PatientCorrection) -> SafeString:
        """Return each changed value, old and new."""
        return format_html_join(
            mark_safe("<br>"),
            "{}: {} → {}",
            (
                (
                    label_for_field(name, Patient),
                    _value_text(name, correction.before[name]),
                    _value_text(name, correction.after[name]),
                )
                for name in correction.changed
            ),
        )


def _value_text(name: str, value: str | None) -> str:
    """Return a kept value of a field as people write it."""
    return value_text(name, value) if value else "–"
