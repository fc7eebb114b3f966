"""Patients in the admin."""

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from patients.admin.common import ArchiveAdmin, list_link
from patients.identity import names
from patients.models import Patient, Study
from patients.search import patients_found


@admin.register(Patient)
class PatientAdmin(ArchiveAdmin):
    """Patients; names, dates of birth and sex can be corrected, identifiers cannot."""

    patient_path = "pk"
    editable = True
    list_display = (
        "display_name",
        "patient_id",
        "issuer",
        "birth_date",
        "sex",
        "studies_link",
    )
    list_filter = ("issuer", "sex", ("patient_id", admin.EmptyFieldListFilter))
    search_fields = ("name_folded",)
    search_help_text = _("Beginnings of names, a patient ID or an accession number.")
    fields = (
        "patient_id",
        "issuer",
        *names.COLUMNS.values(),
        "birth_date",
        "sex",
        "created_at",
        "studies_link",
    )
    readonly_fields = ("patient_id", "issuer", "created_at", "studies_link")

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
        return queryset.filter(
            pk__in=patients_found(search_term).order_by().values("pk")
        ), False

    def save_model(
        self, request: HttpRequest, obj: Patient, form: forms.ModelForm, change: bool
    ) -> None:
        """Keep the search column in step with the name."""
        obj.name_folded = names.folded(names.name_of(obj))
        super().save_model(request, obj, form, change)

    @admin.display(description=_("studies"))
    def studies_link(self, patient: Patient) -> SafeString:
        """Return a link to the patient's studies."""
        count: int = getattr(patient, "studies_count", 0)
        words = ngettext("%(count)d study", "%(count)d studies", count)
        return list_link(
            Study, "patient__id__exact", patient.pk, words % {"count": count}
        )
