"""The archive in JSON, without results of models."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from patients.models import (
    IdentityDiscrepancy,
    Instance,
    Patient,
    Priority,
    Series,
    Study,
)
from patients.output import header_of


class PriorityWordField(serializers.ChoiceField):
    """A priority as a word, as it is submitted."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__([p.name.lower() for p in Priority], **kwargs)

    def to_representation(self, value: Any) -> str:
        """Return the word of the stored number."""
        return Priority(value).name.lower()


class PatientSerializer(serializers.ModelSerializer):
    """A patient; `identified` is false while the hospital's identifier is unknown."""

    name = serializers.CharField(source="display_name", read_only=True)
    identified = serializers.BooleanField(read_only=True)

    class Meta:
        model = Patient
        fields = (
            "id",
            "patient_id",
            "issuer",
            "identified",
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "name_prefix",
            "name_suffix",
            "ideographic_name",
            "phonetic_name",
            "birth_date",
            "sex",
            "created_at",
        )
        read_only_fields = fields


class DiscrepancySerializer(serializers.ModelSerializer):
    """A value that an image states, and the record has another.

    A name is in its DICOM form.
    """

    class Meta:
        model = IdentityDiscrepancy
        fields = ("attribute", "received", "recorded")
        read_only_fields = fields


class StudySerializer(serializers.ModelSerializer):
    """One examination; date and time as sent, with their offset where one was given."""

    department: "serializers.SlugRelatedField[Any]" = serializers.SlugRelatedField(
        "code", read_only=True
    )
    priority = PriorityWordField(read_only=True)
    discrepancies = DiscrepancySerializer(many=True, read_only=True)

    class Meta:
        model = Study
        fields = (
            "id",
            "patient",
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
            "flags",
            "discrepancies",
            "received_at",
        )
        read_only_fields = fields


class SeriesSerializer(serializers.ModelSerializer):
    """Images of one study made in one way."""

    patient = serializers.UUIDField(source="study.patient_id", read_only=True)

    class Meta:
        model = Series
        fields = (
            "id",
            "patient",
            "study",
            "series_instance_uid",
            "series_number",
            "modality",
            "body_part_examined",
            "view_position",
            "laterality",
            "description",
        )
        read_only_fields = fields


class InstanceSerializer(serializers.ModelSerializer):
    """One stored DICOM object, without its bytes."""

    patient = serializers.UUIDField(source="series.study.patient_id", read_only=True)
    study = serializers.UUIDField(source="series.study_id", read_only=True)

    class Meta:
        model = Instance
        fields: tuple[str, ...] = (
            "id",
            "patient",
            "study",
            "series",
            "sop_instance_uid",
            "sop_class_uid",
            "transfer_syntax_uid",
            "instance_number",
            "view_position",
            "rows",
            "columns",
            "frames",
            "bits_stored",
            "photometric_interpretation",
            "pixel_spacing_row_mm",
            "pixel_spacing_column_mm",
            "pixel_spacing_kind",
            "origin",
            "synthetic",
            "picture",
            "lossy",
            "colour",
            "size_bytes",
            "object_sha256",
            "original_sha256",
            "dataset_sha256",
            "header_sha256",
            "pixel_sha256",
            "hash_rule",
            "received_at",
        )
        read_only_fields: tuple[str, ...] = fields


class InstanceWithHeaderSerializer(InstanceSerializer):
    """One stored DICOM object with its header (DICOM JSON model, PS3.18 F).

    The header states the patient as the record does.
    """

    header = serializers.SerializerMethodField()

    class Meta(InstanceSerializer.Meta):
        fields = (*InstanceSerializer.Meta.fields, "header")
        read_only_fields = fields

    @extend_schema_field(serializers.DictField())
    def get_header(self, instance: Instance) -> dict[str, Any]:
        """Return the header with the identity of the record."""
        return header_of(instance)
