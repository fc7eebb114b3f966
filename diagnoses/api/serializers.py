"""JSON of uploads and predictions, and the form of an upload."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from accounts.access import Action, may
from accounts.errors import InvalidInput
from diagnoses.messages import NOT_SCORED_WORDS
from diagnoses.models import Finding, Prediction
from diagnoses.uploads import TakenFile, no_file, refuse_repeated_fields
from ml.labels import is_flagged
from patients.api.serializers import DiscrepancySerializer
from patients.identity.submitted import SubmittedIdentity, checked
from patients.models import Priority, Upload

NOTICE = _("Decision support, not for diagnosis.")
_IGNORED_FIELDS = frozenset({"csrfmiddlewaretoken"})


class PriorityField(serializers.ChoiceField):
    """A priority by its name."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__([p.name.lower() for p in Priority], **kwargs)

    def to_representation(self, value: Any) -> str:
        """Return the name of the stored number."""
        return Priority(value).name.lower()


@extend_schema_field(OpenApiTypes.STR)
class SubmittedTextField(serializers.Field):
    """A text of the upload form, as typed; `UploadRequestSerializer` checks it."""

    default_error_messages: ClassVar = {"invalid": _("This is a file, not text.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)

    def to_internal_value(self, data: object) -> str:
        """Return the text; fail for a file."""
        if not isinstance(data, str):
            self.fail("invalid")
        return data


@extend_schema_field(OpenApiTypes.DATE)
class SubmittedDateField(SubmittedTextField):
    """A date of the upload form, as typed."""


@extend_schema_field({"type": "string", "enum": ["M", "F", "O"]})
class SubmittedSexField(SubmittedTextField):
    """The sex of the upload form, as typed."""


@extend_schema_field({"type": "string", "enum": [p.name.lower() for p in Priority]})
class SubmittedPriorityField(SubmittedTextField):
    """The priority of the upload form, as typed."""


class UploadRequestSerializer(serializers.Serializer):
    """The form of an upload: its description and its checks.

    A value that cannot be taken refuses each file by itself, and the archive records
    that; `wrong_values` names the fields.
    """

    file = serializers.ListField(
        child=serializers.FileField(
            allow_empty_file=True,
            error_messages={"invalid": _("This part has no file name.")},
        ),
        help_text="DICOM, PNG, JPEG, TIFF or BMP.",
        error_messages={"required": _("At least one file is needed.")},
    )
    patient_id = SubmittedTextField()
    issuer = SubmittedTextField()
    patient_name = SubmittedTextField(help_text="Family^Given")
    birth_date = SubmittedDateField()
    sex = SubmittedSexField()
    accession_number = SubmittedTextField()
    priority = SubmittedPriorityField()
    model = SubmittedTextField(help_text="The one model that is to read the files.")

    def to_internal_value(self, form: QueryDict) -> dict[str, Any]:
        """Return the fields that were sent.

        Raises:
            InvalidInput: unknown_fields or no_file.
            ValidationError: A file was sent in the place of a text.
        """
        # A misspelt patient_id would store an image without a patient.
        unknown = sorted(set(form) - set(self.fields) - _IGNORED_FIELDS)
        if unknown:
            raise InvalidInput(
                _("Unknown fields: %(names)s."),
                params={"names": ", ".join(unknown)},
                reason_code="unknown_fields",
                fields={name: [gettext("There is no such field.")] for name in unknown},
            )
        refuse_repeated_fields(form)
        if "file" not in form:
            raise no_file()
        if any(isinstance(part, str) for part in form.getlist("file")):
            raise InvalidInput(
                _("'file' must be a file, not text."),
                reason_code="no_file",
                fields={"file": [gettext("This part has no file name.")]},
            )
        return super().to_internal_value(form)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the files, the identity that the form states, and the model."""
        return {
            "files": fields.pop("file"),
            "model": fields.pop("model", ""),
            "submitted_identity": SubmittedIdentity(**fields),
        }

    def wrong_values(self) -> dict[str, list[str]]:
        """Return the fields whose values cannot be taken, and why."""
        try:
            checked(self.validated_data["submitted_identity"])
        except InvalidInput as error:
            return error.fields
        return {}


class PredictionLinkSerializer(serializers.Serializer):
    """Link to a prediction."""

    id = serializers.UUIDField()
    url = serializers.URLField()


class TakenFileSerializer(serializers.Serializer):
    """The outcome of one file."""

    name = serializers.CharField()
    outcome = serializers.ChoiceField(Upload.Outcome.choices)
    reason_code = serializers.CharField()
    reason = serializers.CharField()
    patient = serializers.UUIDField(allow_null=True)
    study = serializers.UUIDField(allow_null=True)
    instance = serializers.UUIDField(allow_null=True)
    flags = serializers.ListField(child=serializers.CharField())
    discrepancies = DiscrepancySerializer(many=True)
    predictions = PredictionLinkSerializer(many=True)


class TakenFilesSerializer(serializers.Serializer):
    """The outcome of each file, in the order sent."""

    files = TakenFileSerializer(many=True)


def taken_files_json(
    files: Sequence[TakenFile], *, request: Request
) -> list[dict[str, Any]]:
    """Return the outcome of each file, with the ids that the sender may see."""
    return [_taken_file_json(file, request=request) for file in files]


def _taken_file_json(file: TakenFile, *, request: Request) -> dict[str, Any]:
    result = file.result
    study = result.study if file.visible and file.kept else None

    def key(row: Any) -> str | None:
        return str(row.pk) if file.visible and row is not None else None

    return {
        "name": result.name,
        "outcome": str(result.outcome),
        "reason_code": result.reason_code,
        "reason": result.reason,
        "patient": key(result.patient),
        "study": key(result.study),
        "instance": key(result.instance),
        "flags": list(study.flags) if study else [],
        "discrepancies": DiscrepancySerializer(
            study.discrepancies.all() if study else (), many=True
        ).data,
        "predictions": [
            {"id": str(run.pk), "url": prediction_url(run, request=request)}
            for run in file.predictions
        ],
    }


def prediction_url(prediction: Prediction, *, request: Request) -> str:
    """Return the REST address of a prediction."""
    path = reverse("prediction-detail", args=[prediction.pk])
    return request.build_absolute_uri(path)


class UploadSerializer(serializers.ModelSerializer):
    """One file that was sent, without the submitted identity: it may name others.

    The ids of an image that the caller may not see are null (`image_visible`).
    """

    user = serializers.CharField(source="user.username", allow_null=True, default=None)
    study = serializers.UUIDField(
        source="instance.series.study_id", allow_null=True, default=None
    )
    patient = serializers.UUIDField(
        source="instance.series.study.patient_id", allow_null=True, default=None
    )

    reason = serializers.CharField(source="reason_text", read_only=True)
    door = serializers.CharField(
        source="source",
        read_only=True,
        help_text="Deprecated: the former name of `source`.",
    )

    class Meta:
        model = Upload
        fields = (
            "id",
            "created_at",
            "user",
            "source",
            "door",
            "original_name",
            "sha256",
            "size_bytes",
            "outcome",
            "reason_code",
            "reason",
            "patient",
            "study",
            "instance",
            "resolution",
            "resolved_at",
        )
        read_only_fields = fields

    def to_representation(self, upload: Any) -> dict[str, Any]:
        """Return the row without the ids that the caller may not see.

        Args:
            upload: An `Upload`, annotated with `image_visible`.
        """
        shown = super().to_representation(upload)
        if not upload.visible_image:
            shown |= dict.fromkeys(("patient", "study", "instance"))
        return shown


class FindingSerializer(serializers.ModelSerializer):
    """The result of a run for one label: a score, or a calibrated probability."""

    accuracy_claimed = serializers.SerializerMethodField(
        help_text="Whether the card claims an accuracy for the label."
    )
    flagged = serializers.SerializerMethodField(
        help_text="Positive, not Normal, and its accuracy is claimed."
    )
    certainty = serializers.SerializerMethodField(
        help_text='confident, borderline or not sure; "" if the card states none or '
        "claims no accuracy for the label."
    )

    class Meta:
        model = Finding
        fields = (
            "label",
            "probability",
            "calibrated",
            "threshold",
            "threshold_source",
            "positive",
            "accuracy_claimed",
            "flagged",
            "certainty",
        )
        read_only_fields = fields

    def get_accuracy_claimed(self, finding: Finding) -> bool:
        """Return whether the card claims an accuracy for the label."""
        return finding.label in _claimed_labels(finding)

    def get_flagged(self, finding: Finding) -> bool:
        """Return whether the finding is a flag."""
        return is_flagged(
            finding.label,
            positive=finding.positive,
            claimed_labels=_claimed_labels(finding),
        )

    def get_certainty(self, finding: Finding) -> str:
        """Return the certainty stored with the run, if an accuracy is claimed."""
        if not self.get_accuracy_claimed(finding):
            return ""
        words = finding.prediction.provenance.get("certainty") or {}
        return str(words.get(finding.label, ""))


def _claimed_labels(finding: Finding) -> Sequence[str]:
    version = finding.prediction.model_version
    return version.claimed_labels if version else ()


# What replaces everything about the patient for callers who may not read patients, and
# while a run is waiting.
NO_PATIENT: Mapping[str, Any] = MappingProxyType(
    {"patient": None, "flags": [], "discrepancies": []}
)


class PredictionSerializer(serializers.ModelSerializer):
    """One run of one model on one image. Decision support, not for diagnosis.

    A token that may not read patients gets no study, patient, flags or discrepancies.
    """

    model = serializers.CharField(
        source="model_version.name", allow_null=True, default=None
    )
    version = serializers.CharField(
        source="model_version.version", allow_null=True, default=None
    )
    reason = serializers.CharField(source="reason_text", read_only=True)
    study = serializers.UUIDField(
        source="instance.series.study_id",
        allow_null=True,
        help_text="Null for a token that may not read patients.",
    )
    patient = serializers.UUIDField(
        source="instance.series.study.patient_id",
        allow_null=True,
        help_text="Null while one run is waiting: its status does not disclose the "
        "patient.",
    )
    flags = serializers.ListField(
        source="instance.series.study.flags",
        child=serializers.CharField(),
        help_text="Of the study: what a person must check.",
    )
    discrepancies = DiscrepancySerializer(
        source="instance.series.study.discrepancies", many=True
    )
    priority = PriorityField()
    findings = FindingSerializer(many=True)
    label_set = serializers.SerializerMethodField(
        help_text="The labels that the model does not rule out, at its stated coverage."
    )
    not_scored = serializers.SerializerMethodField(
        help_text="The labels without a finding, because they were not measured at the "
        "patient's age: label, reason_code and reason of each."
    )
    age_unknown = serializers.SerializerMethodField(
        help_text="The labels that were measured at some ages only and have a finding, "
        "because the patient's age is not known."
    )
    heatmap = serializers.SerializerMethodField()
    notice = serializers.SerializerMethodField()
    model_url = serializers.SerializerMethodField()

    class Meta:
        model = Prediction
        fields = (
            "id",
            "status",
            "reason_code",
            "reason",
            "model",
            "version",
            "run",
            "shadow",
            "patient",
            "study",
            "instance",
            "flags",
            "discrepancies",
            "frame",
            "priority",
            "queued_at",
            "started_at",
            "finished_at",
            "milliseconds",
            "findings",
            "label_set",
            "not_scored",
            "age_unknown",
            "heatmap",
            "notice",
            "model_url",
            "input_sha256",
            "provenance",
        )
        read_only_fields = fields

    def to_representation(self, prediction: Any) -> dict[str, Any]:
        """Return the run, without what the caller may not read."""
        shown = super().to_representation(prediction)
        if may(self.context["request"].user, Action.READ_PATIENTS):
            return shown
        return {**shown, "study": None, **NO_PATIENT}

    def get_label_set(self, prediction: Prediction) -> list[str]:
        """Return the label set stored with the run."""
        return list(prediction.provenance.get("label_set") or ())

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_not_scored(self, prediction: Prediction) -> list[dict[str, str]]:
        """Return the labels without a finding, each with the reason."""
        stored = prediction.provenance.get("not_scored") or {}
        return [
            {
                "label": label,
                "reason_code": code,
                "reason": str(NOT_SCORED_WORDS.get(code, code)),
            }
            for label, code in stored.items()
        ]

    def get_age_unknown(self, prediction: Prediction) -> list[str]:
        """Return the labels whose ages could not be compared with the patient's."""
        return list(prediction.provenance.get("age_unknown") or ())

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_heatmap(self, prediction: Prediction) -> str | None:
        """Return the address of the heat map, null until the run has succeeded."""
        if prediction.status != Prediction.Status.SUCCEEDED:
            return None
        path = reverse("prediction-heatmap", args=[prediction.pk])
        return self.context["request"].build_absolute_uri(path)

    def get_notice(self, prediction: Prediction) -> str:
        """Return the notice that accompanies every result."""
        return str(NOTICE)

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_model_url(self, prediction: Prediction) -> str | None:
        """Return the address of the model's card."""
        version = prediction.model_version
        if version is None:
            return None
        path = reverse("model-detail", args=[version.name])
        query = urlencode({"version": version.version})
        return self.context["request"].build_absolute_uri(f"{path}?{query}")
