"""Filters of the lists of patients, studies, series and instances."""

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters

from accounts.api.filters import KeyFilterSet
from accounts.models import Department
from patients.models import Instance, Patient, Priority, Series, Study, StudyFlag
from patients.search import patients_found, patients_named, studies_found

LONGEST_SEARCH = 128


class PatientFilter(KeyFilterSet):
    """Filter patients by identity."""

    search = filters.CharFilter(
        method="matching",
        max_length=LONGEST_SEARCH,
        help_text=_(
            "Parts of a name, of a patient ID or of an accession number, or a date of "
            "birth. 400 if very many rows match."
        ),
    )
    name = filters.CharFilter(
        method="named",
        max_length=LONGEST_SEARCH,
        help_text=_("Parts of its words. 400 if very many rows match."),
    )

    class Meta:
        model = Patient
        fields = ("patient_id", "issuer", "birth_date", "sex")

    def matching(
        self, patients: QuerySet[Patient], name: str, text: str
    ) -> QuerySet[Patient]:
        """Keep the patients that match a search."""
        return patients.filter(patients_found(text).all_of("pk"))

    def named(
        self, patients: QuerySet[Patient], name: str, text: str
    ) -> QuerySet[Patient]:
        """Keep the patients of this name."""
        return patients.filter(patients_named(text).all_of("pk"))


class StudyFilter(KeyFilterSet):
    """Filter studies by patient, accession number, time, priority and content."""

    search = filters.CharFilter(
        method="matching",
        max_length=LONGEST_SEARCH,
        help_text=_(
            "Parts of a name, of a patient ID or of an accession number, or a date of "
            "birth. 400 if very many rows match."
        ),
    )
    patient_id = filters.CharFilter(field_name="patient__patient_id")
    study_date_after = filters.DateFilter(field_name="study_date", lookup_expr="gte")
    study_date_before = filters.DateFilter(field_name="study_date", lookup_expr="lte")
    received_after = filters.IsoDateTimeFilter(
        field_name="received_at", lookup_expr="gte"
    )
    received_before = filters.IsoDateTimeFilter(
        field_name="received_at", lookup_expr="lt"
    )
    priority = filters.TypedChoiceFilter(
        choices=[(p.name.lower(), p.label) for p in Priority],
        coerce=lambda word: Priority[word.upper()],
    )
    department = filters.CharFilter(method="of_department")
    flag = filters.ChoiceFilter(choices=StudyFlag.choices, method="flagged")
    modality = filters.CharFilter(method="with_modality")

    class Meta:
        model = Study
        fields = ("patient", "study_instance_uid", "accession_number", "study_date")

    def matching(
        self, studies: QuerySet[Study], name: str, text: str
    ) -> QuerySet[Study]:
        """Keep the studies that match a search."""
        return studies.filter(studies_found(text).all_of("pk"))

    def of_department(
        self, studies: QuerySet[Study], name: str, code: str
    ) -> QuerySet[Study]:
        """Keep the studies of the department with this code."""
        department = Department.objects.filter(code=code).first()
        return studies.filter(department=department) if department else studies.none()

    def flagged(
        self, studies: QuerySet[Study], name: str, flag: str
    ) -> QuerySet[Study]:
        """Keep the studies with this flag."""
        return studies.filter(flags__contains=[flag])

    def with_modality(
        self, studies: QuerySet[Study], name: str, modality: str
    ) -> QuerySet[Study]:
        """Keep the studies that have a series of this modality."""
        return studies.filter(
            pk__in=Series.objects.filter(modality=modality).order_by().values("study")
        )


class SeriesFilter(KeyFilterSet):
    """Filter series by study, patient and kind."""

    patient = filters.UUIDFilter(field_name="study__patient")

    class Meta:
        model = Series
        fields = ("study", "series_instance_uid", "modality", "body_part_examined")


class InstanceFilter(KeyFilterSet):
    """Filter instances by study, patient and kind."""

    study = filters.UUIDFilter(field_name="series__study")
    patient = filters.UUIDFilter(field_name="series__study__patient")
    received_after = filters.IsoDateTimeFilter(
        field_name="received_at", lookup_expr="gte"
    )
    received_before = filters.IsoDateTimeFilter(
        field_name="received_at", lookup_expr="lt"
    )

    class Meta:
        model = Instance
        fields = (
            "series",
            "sop_instance_uid",
            "sop_class_uid",
            "object_sha256",
            "origin",
            "synthetic",
            "picture",
        )
