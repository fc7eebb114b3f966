"""Series and instances in the admin; read only."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin.lists import StoredValuesFilter
from patients.admin.common import ArchiveAdmin, link_to, list_link
from patients.models import Instance, Series


@admin.register(Series)
class SeriesAdmin(ArchiveAdmin):
    """Images of one study made in one way."""

    patient_path = "study__patient_id"
    link_lookups = ("study__id__exact",)
    list_display = (
        "__str__",
        "study_link",
        "modality",
        "body_part_examined",
        "view_position",
        "series_number",
    )
    list_filter = (("modality", StoredValuesFilter),)
    list_select_related = ("study",)
    ordering = ("series_instance_uid",)
    sortable_by = ()
    search_fields = ("series_instance_uid__startswith",)
    search_help_text = _("The beginning of a Series Instance UID.")
    fields = (
        "study_link",
        "series_instance_uid",
        "modality",
        "body_part_examined",
        "view_position",
        "laterality",
        "description",
        "series_number",
        "instances_link",
    )
    readonly_fields = fields

    @admin.display(description=_("study"))
    def study_link(self, series: Series) -> str | SafeString:
        """Return a link to the study."""
        return link_to(series.study)

    @admin.display(description=_("instances"))
    def instances_link(self, series: Series) -> SafeString:
        """Return a link to the instances of the series."""
        return list_link(
            Instance,
            "series__id__exact",
            series.pk,
            gettext("Instances of this series"),
        )


ALL_FIELDS = (
    "series_link",
    *(field.name for field in Instance._meta.fields if field.name != "series"),
)


@admin.register(Instance)
class InstanceAdmin(ArchiveAdmin):
    """Stored instances with their headers; the bytes are never changed."""

    patient_path = "series__study__patient_id"
    link_lookups = ("series__id__exact",)
    list_display = (
        "received_at",
        "sop_instance_uid",
        "series_link",
        "columns",
        "rows",
        "frames",
        "origin",
        "synthetic",
        "picture",
        "size_bytes",
    )
    list_display_links = ("received_at", "sop_instance_uid")
    list_filter = ("origin", "synthetic", "picture", "lossy", "received_at")
    list_select_related = ("series",)
    ordering = ("-received_at", "-id")
    sortable_by = ("received_at", "sop_instance_uid")
    search_fields = ("sop_instance_uid__startswith", "object_sha256__startswith")
    search_help_text = _(
        "The beginning of a SOP Instance UID or of the SHA-256 of the object."
    )
    fields = ALL_FIELDS
    readonly_fields = ALL_FIELDS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        """Return the instances; lists leave out the headers, up to 1 MB each."""
        match = request.resolver_match
        listed = match is not None and match.url_name == "patients_instance_changelist"
        rows = super().get_queryset(request)
        return rows.defer("header") if listed else rows

    @admin.display(description=_("series"))
    def series_link(self, instance: Instance) -> str | SafeString:
        """Return a link to the series."""
        return link_to(instance.series)
