"""JSON of models, of decisions about them, and of comparisons."""

from typing import Any

from django.db.models import Prefetch, prefetch_related_objects
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from diagnoses.governance.comparison import Agreement, Comparison, ImageComparison
from diagnoses.governance.versions import thresholds_of
from diagnoses.models import (
    ModelVersion,
    OperatingPoint,
    SiteAcceptance,
    StateChange,
)
from ml.cards.former_keys import with_former_keys
from ml.labels import is_flagged


class ModelVersionSerializer(serializers.ModelSerializer):
    """One version of a model with its card; never its weights."""

    weights_sha256 = serializers.SerializerMethodField(
        help_text="Null: no weights, so it cannot be used."
    )
    card = serializers.SerializerMethodField(
        help_text="In the present schema of cards. Deprecated: the key `metrics`, see "
        "`measurements`, and the keys that say films, see those that say images."
    )

    class Meta:
        model = ModelVersion
        fields: tuple[str, ...] = (
            "id",
            "name",
            "version",
            "state",
            "state_changed_at",
            "state_reason",
            "installed_at",
            "has_weights",
            "weights_sha256",
            "claimed_labels",
            "card",
        )
        read_only_fields: tuple[str, ...] = fields

    def get_weights_sha256(self, version: ModelVersion) -> str | None:
        """Return the hash, or null."""
        return version.weights_sha256 or None

    def get_card(self, version: ModelVersion) -> dict[str, Any]:
        """Return the card with its former keys beside the present ones."""
        return with_former_keys(version.card)


class _ByAPerson(serializers.ModelSerializer):
    """A row with the user who made it."""

    def by(self, row: Any, attribute: str) -> str | None:
        """Return the user name; null for a command without a user."""
        user = getattr(row, attribute)
        return user.get_username() if user else None


class StateChangeSerializer(_ByAPerson):
    """A change of a version's state: who, when and why."""

    from_state = serializers.CharField(help_text="Empty: not known.")
    to_state = serializers.CharField()
    changed_by = serializers.SerializerMethodField()

    class Meta:
        model = StateChange
        fields = (
            "from_state",
            "to_state",
            "rollback",
            "reason",
            "acceptance",
            "without_acceptance",
            "changed_by",
            "changed_at",
        )
        read_only_fields = fields

    def get_changed_by(self, change: StateChange) -> str | None:
        """Return who decided."""
        return self.by(change, "changed_by")


class SiteAcceptanceSerializer(_ByAPerson):
    """Local validation of a version."""

    measured_by = serializers.SerializerMethodField()
    films = serializers.IntegerField(
        source="images",
        read_only=True,
        help_text="Deprecated: the former name of `images`.",
    )

    class Meta:
        model = SiteAcceptance
        fields = (
            "id",
            "images",
            "films",
            "patients",
            "figures",
            "manifest_sha256",
            "measured_by",
            "measured_at",
        )
        read_only_fields = fields

    def get_measured_by(self, acceptance: SiteAcceptance) -> str | None:
        """Return who measured."""
        return self.by(acceptance, "measured_by")


class OperatingPointSerializer(_ByAPerson):
    """The threshold of a label from a point in time on."""

    set_by = serializers.SerializerMethodField()

    class Meta:
        model = OperatingPoint
        fields = (
            "id",
            "label",
            "value",
            "method",
            "reason",
            "set_by",
            "effective_from",
        )
        read_only_fields = fields

    def get_set_by(self, point: OperatingPoint) -> str | None:
        """Return who set it."""
        return self.by(point, "set_by")


class ModelDetailSerializer(ModelVersionSerializer):
    """One version with its decisions and local validations."""

    thresholds = serializers.SerializerMethodField(help_text="In force now, by label.")
    state_changes = StateChangeSerializer(many=True)
    acceptances = SiteAcceptanceSerializer(many=True)

    class Meta(ModelVersionSerializer.Meta):
        fields = (
            *ModelVersionSerializer.Meta.fields,
            "thresholds",
            "state_changes",
            "acceptances",
        )
        read_only_fields = fields

    def to_representation(self, version: ModelVersion) -> dict[str, Any]:
        """Return the version; its users are fetched together."""
        prefetch_related_objects(
            [version],
            Prefetch("state_changes", StateChange.objects.select_related("changed_by")),
            Prefetch(
                "acceptances", SiteAcceptance.objects.select_related("measured_by")
            ),
        )
        return super().to_representation(version)

    def get_thresholds(self, version: ModelVersion) -> dict[str, float]:
        """Return the thresholds in force."""
        return {
            label: threshold.value
            for label, threshold in thresholds_of(version).items()
        }


class DecisionSerializer(serializers.Serializer):
    """A decision about a version, with a reason."""

    version = serializers.CharField(
        required=False, help_text="Default: the one installed last."
    )
    reason = serializers.CharField(max_length=256)


class ActivationSerializer(DecisionSerializer):
    """A decision to activate, perhaps without local validation."""

    without_acceptance = serializers.CharField(
        required=False, allow_blank=True, max_length=256
    )


class RollbackSerializer(serializers.Serializer):
    """A decision to go back to the version that was active before."""

    to = serializers.CharField(
        required=False,
        help_text="The version that you expect to go back to: 409 if it is another. "
        "Default: the version that was active before.",
    )
    reason = serializers.CharField(max_length=256)


class InUseSerializer(DecisionSerializer):
    """A decision about the active version, unless another is named."""

    version = serializers.CharField(
        required=False,
        help_text="Default: the active one, else the one installed last.",
    )


class NewOperatingPointSerializer(InUseSerializer):
    """A label and its threshold, or the name of a set that the card offers."""

    # The REST key; the stubs take it for the attribute `label` of a field.
    label = serializers.CharField(required=False)  # type: ignore[assignment]
    value = serializers.FloatField(required=False, min_value=0, max_value=1)
    set = serializers.CharField(required=False)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """Check that either label and value or set is given."""
        by_hand = "label" in given and "value" in given
        if by_hand == ("set" in given):
            raise serializers.ValidationError(_("Send label and value, or set."))
        return given


class ComparisonSerializer(serializers.Serializer):
    """Comparison of two versions on the images that both have read."""

    first = serializers.CharField()
    second = serializers.CharField()
    images = serializers.IntegerField()
    images_differing = serializers.IntegerField()
    films = serializers.IntegerField(help_text="Deprecated: see `images`.")
    films_differing = serializers.IntegerField(
        help_text="Deprecated: see `images_differing`."
    )
    highest = serializers.DictField(allow_null=True)
    labels = serializers.ListField(child=serializers.DictField())
    differing = serializers.ListField(child=serializers.DictField())


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison; the most different images first."""
    return {
        "first": str(comparison.first),
        "second": str(comparison.second),
        "images": comparison.images,
        "images_differing": comparison.images_differing,
        "films": comparison.images,
        "films_differing": comparison.images_differing,
        "highest": _agreement(comparison.highest) if comparison.highest else None,
        "labels": [
            {
                "label": label.label,
                "both": label.both,
                "first_only": label.first_only,
                "second_only": label.second_only,
                "neither": label.neither,
                "mean_difference": label.mean_difference,
                "greatest_difference": label.greatest_difference,
                **_agreement(label.agreement),
            }
            for label in comparison.labels
        ],
        "differing": [_image(image, comparison) for image in comparison.differing],
    }


def _agreement(agreement: Agreement) -> dict[str, Any]:
    return {"agreement": agreement.share, "cohens_kappa": agreement.kappa}


def _image(image: ImageComparison, comparison: Comparison) -> dict[str, Any]:
    return {
        "instance": str(image.instance_id),
        "frame": image.frame,
        "greatest_difference": image.greatest_difference,
        "labels": [
            {
                "label": label.label,
                "first": label.first.probability,
                "first_positive": label.first.positive,
                "first_flagged": is_flagged(
                    label.label,
                    positive=label.first.positive,
                    claimed_labels=comparison.first.claimed_labels,
                ),
                "second": label.second.probability,
                "second_positive": label.second.positive,
                "second_flagged": is_flagged(
                    label.label,
                    positive=label.second.positive,
                    claimed_labels=comparison.second.claimed_labels,
                ),
            }
            for label in image.labels
            if label.differs
        ],
    }
