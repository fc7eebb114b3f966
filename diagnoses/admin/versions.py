"""Admin of model versions, their validations and thresholds."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may, signed_in_user
from accounts.admin.audited import AuditedAdmin
from accounts.audit import AuditSource
from accounts.errors import ChestXError
from diagnoses.governance.operating_points import set_operating_point
from diagnoses.governance.transitions import Decision, activate, retire, run_in_shadow
from diagnoses.governance.versions import card_of
from diagnoses.messages import one_of
from diagnoses.models import (
    ModelVersion,
    OperatingPoint,
    SiteAcceptance,
    StateChange,
)


class ReasonForm(ActionForm):
    """The action and its reason."""

    reason = forms.CharField(required=False, max_length=256, label=_("Reason"))
    without_acceptance = forms.CharField(
        required=False,
        max_length=256,
        label=_("Reason for activating without local validation"),
    )


@admin.register(ModelVersion)
class ModelVersionAdmin(AuditedAdmin):
    """Installed versions; every transition needs a reason."""

    list_display = ("name", "version", "state", "state_changed_at", "state_reason")
    list_filter = ("state", "name")
    search_fields = ("name", "version", "weights_sha256")
    action_form = ReasonForm
    actions = ("activate_versions", "shadow_versions", "retire_versions")
    fields = (
        "name",
        "version",
        "state",
        "state_changed_by",
        "state_changed_at",
        "state_reason",
        "installed_at",
        "weights_sha256",
        "card",
    )
    readonly_fields = fields

    @admin.action(description=_("Activate (replaces the active version)"))
    def activate_versions(
        self, request: HttpRequest, queryset: models.QuerySet[ModelVersion]
    ) -> None:
        """Activate the selected versions."""
        without = request.POST.get("without_acceptance", "")
        self._decide(request, queryset, activate, without_acceptance=without)

    @admin.action(description=_("Run in shadow (results are hidden from readers)"))
    def shadow_versions(
        self, request: HttpRequest, queryset: models.QuerySet[ModelVersion]
    ) -> None:
        """Run the selected versions in shadow."""
        self._decide(request, queryset, run_in_shadow)

    @admin.action(description=_("Retire (reads no new images)"))
    def retire_versions(
        self, request: HttpRequest, queryset: models.QuerySet[ModelVersion]
    ) -> None:
        """Retire the selected versions."""
        self._decide(request, queryset, retire)

    def _decide(
        self,
        request: HttpRequest,
        queryset: models.QuerySet[ModelVersion],
        decide: Any,
        **arguments: str,
    ) -> None:
        reason = request.POST.get("reason", "")
        decision = Decision(signed_in_user(request), reason, AuditSource.ADMIN, request)
        for version in queryset:
            try:
                decide(version, decision=decision, **arguments)
            except ChestXError as error:
                if not error.permanent:
                    raise
                self.message_user(request, error.message, messages.ERROR)
            else:
                done = gettext("%(version)s: %(state)s.")
                state = version.get_state_display()
                self.message_user(request, done % {"version": version, "state": state})


@admin.register(StateChange)
class StateChangeAdmin(AuditedAdmin):
    """Changes of the states of versions."""

    list_display = (
        "model_version",
        "from_state",
        "to_state",
        "rollback",
        "changed_by",
        "changed_at",
        "reason",
    )
    list_filter = ("to_state", "rollback", "model_version")
    list_select_related = ("model_version", "changed_by")
    search_fields = ("reason", "model_version__name")
    fields = (*list_display, "acceptance", "without_acceptance")
    readonly_fields = fields


@admin.register(SiteAcceptance)
class SiteAcceptanceAdmin(AuditedAdmin):
    """Local validations of versions."""

    list_display = (
        "model_version",
        "images",
        "patients",
        "measured_by",
        "measured_at",
    )
    list_filter = ("model_version",)
    list_select_related = ("model_version", "measured_by")
    search_fields = ("model_version__name", "manifest_sha256")
    fields = (*list_display, "manifest_sha256", "figures")
    readonly_fields = fields


class OperatingPointForm(forms.ModelForm):
    """A new threshold for a label, with a reason."""

    reason = forms.CharField(max_length=256, label=_("Reason"))

    class Meta:
        model = OperatingPoint
        fields = ("model_version", "label", "value", "reason")

    def clean(self) -> dict[str, Any]:
        """Check that the card has the label."""
        given = super().clean() or self.cleaned_data
        version = given.get("model_version")
        if version is not None:
            known = card_of(version).label_names
            if given.get("label") not in known:
                self.add_error("label", one_of(known))
        return given


@admin.register(OperatingPoint)
class OperatingPointAdmin(AuditedAdmin):
    """Thresholds: added, never changed."""

    form = OperatingPointForm
    list_display = (
        "model_version",
        "label",
        "value",
        "method",
        "reason",
        "set_by",
        "effective_from",
    )
    list_filter = ("model_version", "label")
    list_select_related = ("model_version", "set_by")
    search_fields = ("label", "method", "model_version__name")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow administrators to add a threshold."""
        return may(request.user, Action.ADMINISTER)

    def save_model(
        self,
        request: HttpRequest,
        obj: OperatingPoint,
        form: forms.ModelForm,
        change: bool,
    ) -> None:
        """Set the threshold and show the row that was created."""
        decision = Decision(
            signed_in_user(request), obj.reason, AuditSource.ADMIN, request
        )
        made = set_operating_point(
            obj.model_version, label=obj.label, value=obj.value, decision=decision
        )
        obj.pk = made.pk
