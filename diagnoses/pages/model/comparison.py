"""Two versions side by side on the images that both have read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import Action, may, require
from accounts.errors import NotFound
from diagnoses.governance.comparison import (
    Agreement,
    Comparison,
    ImageComparison,
    LabelComparison,
    compare,
    compare_image,
)
from diagnoses.governance.versions import active_models, shadow_models
from diagnoses.models import Finding, ModelVersion
from diagnoses.pages.audit import record_read
from diagnoses.pages.words.findings import display_of

_SEPARATOR = "@"


@dataclass(frozen=True)
class LabelLine:
    """A label of the table: counts, agreement, kappa, how far apart."""

    display: str
    counts: tuple[int, int, int, int]
    agreement: str
    kappa: str
    mean_difference: str
    greatest_difference: str


@dataclass(frozen=True)
class SaidLine:
    """What both said about a label of an image."""

    display: str
    first: str
    first_positive: bool
    second: str
    second_positive: bool
    differs: bool


@dataclass(frozen=True)
class ImageLine:
    """An image on which they differ, and the ways to it."""

    key: str
    url: str
    study_url: str
    greatest_difference: str
    said: tuple[SaidLine, ...]


@require_safe
def comparison(request: HttpRequest) -> HttpResponse:
    """Compare two versions: `first` and `second` as name@version; `image` for one."""
    require(request, Action.READ_SHADOW)
    versions = list(
        ModelVersion.objects.exclude(weights_sha256="").order_by("name", "version")
    )
    first, second = _chosen(request, versions)
    context: dict[str, Any] = {
        "section": "models",
        "choices": [written(version) for version in versions],
        "first": written(first) if first else "",
        "second": written(second) if second else "",
    }
    if first and second:
        image = request.GET.get("image", "")
        said = _image(request, first, second, image) if image else {}
        context |= said or _compared(request, compare(first, second, user=request.user))
    return render(request, "models/compare.html", context)


def written(version: ModelVersion) -> str:
    """Return how the address names a version."""
    return f"{version.name}{_SEPARATOR}{version.version}"


def _chosen(
    request: HttpRequest, versions: list[ModelVersion]
) -> tuple[ModelVersion | None, ModelVersion | None]:
    """Return the versions that the address names, else the active and the shadow."""
    named = [request.GET.get(place, "") for place in ("first", "second")]
    if any(named):
        known = {written(version): version for version in versions}
        if not set(named) <= {*known, ""}:
            raise NotFound("There is no such version to compare.")
        return known.get(named[0]), known.get(named[1])
    shadow = next(iter(shadow_models()), None)
    active = active_models()
    same_name = [one for one in active if shadow and one.name == shadow.name]
    return next(iter([*same_name, *active]), None), shadow


def _compared(request: HttpRequest, found: Comparison) -> dict[str, Any]:
    _record(request, found.first, found.second, found.differing)
    return {
        "images": found.images,
        "labels": [_label_line(label) for label in found.labels],
        "highest": _agreement_words(found.highest) if found.highest else "",
        "images_differing": found.images_differing,
        "differing": [
            _image_line(image, found.first, found.second, request)
            for image in found.differing
        ],
    }


def _image(
    request: HttpRequest, first: ModelVersion, second: ModelVersion, image: str
) -> dict[str, Any]:
    try:
        key = UUID(image)
    except ValueError as error:
        raise NotFound("There is no such image.") from error
    found = compare_image(first, second, image=key, user=request.user)
    if found is None:
        raise NotFound("Not both have read this image, or it is not yours to see.")
    _record(request, first, second, (found,))
    line = _image_line(found, first, second, request, everything=True)
    return {"image": line, "all_url": _address(first, second)}


def _record(
    request: HttpRequest,
    first: ModelVersion,
    second: ModelVersion,
    images: tuple[ImageComparison, ...],
) -> None:
    record_read(
        request,
        object_kind="comparison",
        patients={image.patient_id for image in images},
        detail={"first": written(first), "second": written(second)},
    )


def _label_line(label: LabelComparison) -> LabelLine:
    agreement = label.agreement
    return LabelLine(
        display=display_of(label.label),
        counts=(label.both, label.first_only, label.second_only, label.neither),
        agreement=_two(agreement.share),
        kappa=_two(agreement.kappa),
        mean_difference=f"{label.mean_difference:.3f}",
        greatest_difference=_two(label.greatest_difference),
    )


def _agreement_words(agreement: Agreement) -> str:
    return (
        f"The same label stands highest on {agreement.agreed} of {agreement.images} "
        f"images ({_two(agreement.share)}; Cohen's kappa {_two(agreement.kappa)})."
    )


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _image_line(
    image: ImageComparison,
    first: ModelVersion,
    second: ModelVersion,
    request: HttpRequest,
    *,
    everything: bool = False,
) -> ImageLine:
    return ImageLine(
        key=str(image.instance_id)[:8],
        url=_address(first, second, image=str(image.instance_id)),
        study_url=_study_url(image, request),
        greatest_difference=_two(image.greatest_difference),
        said=tuple(
            SaidLine(
                display=display_of(label.label),
                first=_score(label.first),
                first_positive=label.first.positive,
                second=_score(label.second),
                second_positive=label.second.positive,
                differs=label.differs,
            )
            for label in image.labels
            if everything or label.differs
        ),
    )


def _score(finding: Finding) -> str:
    return f"{finding.probability:.2f} · {finding.threshold:.2f}"


def _address(first: ModelVersion, second: ModelVersion, **more: str) -> str:
    asked = {"first": written(first), "second": written(second), **more}
    return f"{reverse('model-compare')}?{urlencode(asked)}"


def _study_url(image: ImageComparison, request: HttpRequest) -> str:
    """Return the way to the study, for who may see whose image it is."""
    if not may(request.user, Action.READ_PATIENTS):
        return ""
    asked = urlencode({"image": image.instance_id})
    return f"{reverse('study', args=[image.study_id])}?{asked}"
