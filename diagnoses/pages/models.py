"""About the models: their cards. No patients here."""

from pathlib import Path

from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import Action, require
from accounts.errors import NotFound
from diagnoses.model_versions import thresholds_of
from diagnoses.models import ModelVersion
from diagnoses.pages.card_view import card_page, card_summary
from ml.registry import WEIGHTS_DIR


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """List the models: of each the version in use, else the one installed last."""
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
            "models": [card_summary(version) for version in listed.values()],
        },
    )


@require_safe
def model(request: HttpRequest, name: str) -> HttpResponse:
    """Show the card of one version: `version` in the address, else the one in use."""
    require(request, Action.READ_MODELS)
    versions = _versions_of(name)
    shown = _chosen(request, versions)
    values = {
        label: threshold.value for label, threshold in thresholds_of(shown).items()
    }
    page = card_page(
        shown, versions=versions, thresholds=values, has_curves=_curves(shown).is_file()
    )
    return render(request, "models/page.html", {"section": "models", "model": page})


@require_safe
def curves(request: HttpRequest, name: str) -> HttpResponse:
    """Answer the training curves of a version."""
    require(request, Action.READ_MODELS)
    path = _curves(_chosen(request, _versions_of(name)))
    if not path.is_file():
        raise NotFound("This version came without training curves.")
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
        raise NotFound("There is no model of this name.")
    return versions


def _chosen(request: HttpRequest, versions: list[ModelVersion]) -> ModelVersion:
    named = request.GET.get("version", "")
    if named:
        found = next((one for one in versions if one.version == named), None)
        if found is None:
            raise NotFound("There is no such version of this model.")
        return found
    active = ModelVersion.State.ACTIVE
    return next((one for one in versions if one.state == active), versions[0])


def _curves(version: ModelVersion) -> Path:
    return WEIGHTS_DIR / version.name / version.version / "curves.svg"
