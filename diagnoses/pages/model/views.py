"""The pages about models: their cards, decisions and thresholds; no patient data."""

from dataclasses import dataclass
from pathlib import Path

from django.contrib import messages
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
)
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Action, may, require, signed_in_user
from accounts.audit import AuditSource
from accounts.errors import ChestXError, InvalidInput, NotFound
from diagnoses.governance.operating_points import choose_named_set, set_operating_point
from diagnoses.governance.transitions import (
    Decision,
    activate,
    retire,
    roll_back,
    run_in_shadow,
)
from diagnoses.governance.versions import retired_of, thresholds_of
from diagnoses.models import ModelVersion, StateChange
from diagnoses.pages.model.card import card_page, card_summary
from diagnoses.pages.model.history import (
    acceptances_of,
    choices_of,
    history_of,
    threshold_changes_of,
)
from ml.cards.card import WEIGHTS_DIR


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """List the version in use of each model, else the one installed last.

    Models that have left the code come last.
    """
    require(request, Action.READ_MODELS)
    listed: dict[str, ModelVersion] = {}
    for version in ModelVersion.objects.order_by("name", "-installed_at"):
        known = listed.setdefault(version.name, version)
        if version.state == ModelVersion.State.ACTIVE and known is not version:
            listed[version.name] = version
    return render(
        request,
        "models/list.html",
        {
            "section": "models",
            "models": [
                card_summary(version)
                for version in sorted(listed.values(), key=_has_left_the_code)
            ],
            "may_compare": may(request.user, Action.READ_SHADOW),
        },
    )


def _has_left_the_code(version: ModelVersion) -> bool:
    return retired_of(version) is not None


@require_safe
def model(request: HttpRequest, name: str) -> HttpResponse:
    """Show the card of one version: `?version=`, else the one in use."""
    require(request, Action.READ_MODELS)
    versions = _versions_of(name)
    return _page(request, _chosen(request, versions), versions)


@dataclass(frozen=True)
class RefusedForm:
    """A form of the page that was refused: which one, why, and what was typed."""

    name: str
    error: ChestXError
    typed: QueryDict

    @property
    def sentence(self) -> str:
        """What concerns the whole form; errors of a field stand beside it."""
        return "" if self.error.fields else self.error.message


def _page(
    request: HttpRequest,
    shown: ModelVersion,
    versions: list[ModelVersion],
    *,
    refused: RefusedForm | None = None,
) -> HttpResponse:
    """Show one version, with a form that was refused as it was typed."""
    values = {
        label: threshold.value for label, threshold in thresholds_of(shown).items()
    }
    page = card_page(
        shown, versions=versions, thresholds=values, has_curves=_curves(shown).is_file()
    )
    acceptances = acceptances_of(shown)
    return render(
        request,
        "models/page.html",
        {
            "section": "models",
            "model": page,
            "acceptances": acceptances,
            "history": history_of(shown),
            "threshold_changes": threshold_changes_of(shown),
            "choices": choices_of(shown, acceptances=acceptances)
            if may(request.user, Action.ADMINISTER)
            else {},
            "may_compare": may(request.user, Action.READ_SHADOW),
            "longest_reason": StateChange._meta.get_field("reason").max_length,
            "refused": {refused.name: refused} if refused else {},
        },
        status=refused.error.status if refused else None,
    )


@require_POST
def decide(request: HttpRequest, name: str) -> HttpResponse:
    """Change the state of a version, or roll back to the one before; then show it."""
    require(request, Action.ADMINISTER)
    versions = _versions_of(name)
    decision = _decision(request)
    chosen = request.POST.get("decision", "")
    shown = _named(request.POST.get("version", ""), versions)
    try:
        if chosen == "rollback":
            back_to = request.POST.get("back_to", "")
            shown = roll_back(name, decision=decision, to=back_to).model_version
        elif chosen == "activate":
            without = request.POST.get("without_acceptance", "")
            activate(shown, decision=decision, without_acceptance=without)
        elif chosen == "shadow":
            run_in_shadow(shown, decision=decision)
        elif chosen == "retire":
            retire(shown, decision=decision)
        else:
            raise InvalidInput(_("There is no such decision."))
    except ChestXError as error:
        return _refused(request, shown, "decide", error)
    result = gettext(
        "%(version)s is now %(state)s. This applies to new images. The worklist "
        "follows within minutes."
    ) % {
        "version": shown,
        "state": shown.get_state_display(),
    }
    return _back(request, shown, result)


@require_POST
def thresholds(request: HttpRequest, name: str) -> HttpResponse:
    """Set thresholds for new images; then show the version."""
    require(request, Action.ADMINISTER)
    shown = _named(request.POST.get("version", ""), _versions_of(name))
    decision = _decision(request)
    named_set = request.POST.get("set", "")
    try:
        if named_set:
            choose_named_set(shown, name=named_set, decision=decision)
        else:
            set_operating_point(
                shown,
                label=request.POST.get("label", ""),
                value=_number(request.POST.get("value", "")),
                decision=decision,
            )
    except ChestXError as error:
        return _refused(request, shown, "thresholds", error)
    return _back(
        request,
        shown,
        _("Thresholds set for new images. Earlier results do not change."),
    )


def _decision(request: HttpRequest) -> Decision:
    reason = request.POST.get("reason", "")
    return Decision(signed_in_user(request), reason, AuditSource.WEB, request)


def _number(written: str) -> float:
    try:
        return float(written)
    except ValueError as error:
        sentence = gettext("The threshold must be a number from 0 to 1.")
        raise InvalidInput(sentence, fields={"value": [sentence]}) from error


def _refused(
    request: HttpRequest, shown: ModelVersion, form: str, error: ChestXError
) -> HttpResponse:
    """Show the version with what was typed, and why it was refused."""
    if not error.permanent:
        raise error
    refused = RefusedForm(form, error, request.POST)
    return _page(request, shown, _versions_of(shown.name), refused=refused)


def _back(
    request: HttpRequest, shown: ModelVersion, result: Promise | str
) -> HttpResponse:
    """Show the version again, with the result of the decision."""
    messages.success(request, str(result))
    query = urlencode({"version": shown.version})
    return HttpResponseRedirect(f"{reverse('model', args=[shown.name])}?{query}")


@require_safe
def curves(request: HttpRequest, name: str) -> HttpResponseBase:
    """Return the training curves of a version."""
    require(request, Action.READ_MODELS)
    path = _curves(_chosen(request, _versions_of(name)))
    if not path.is_file():
        raise NotFound(_("This version has no training curves."))
    # Whatever an SVG holds: opened as a page of its own, it runs nothing.
    return FileResponse(
        path.open("rb"),
        content_type="image/svg+xml",
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"
        },
    )


def _versions_of(name: str) -> list[ModelVersion]:
    versions = list(ModelVersion.objects.filter(name=name).order_by("-installed_at"))
    if not versions:
        raise NotFound(_("There is no model of this name."))
    return versions


def _chosen(request: HttpRequest, versions: list[ModelVersion]) -> ModelVersion:
    number = request.GET.get("version", "")
    if number:
        return _named(number, versions)
    active = ModelVersion.State.ACTIVE
    return next((one for one in versions if one.state == active), versions[0])


def _named(number: str, versions: list[ModelVersion]) -> ModelVersion:
    version = next((one for one in versions if one.version == number), None)
    if version is None:
        raise NotFound(_("There is no such version of this model."))
    return version


def _curves(version: ModelVersion) -> Path:
    # Those of a head are the curves of its backbone.
    own = {"name": version.name, "version": version.version}
    shown = version.card.get("backbone") or own
    return WEIGHTS_DIR / shown["name"] / shown["version"] / "curves.svg"
