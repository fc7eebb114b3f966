"""The page that compares two versions on the images that both have scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.access import Action, may, require, signed_in_user
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
from diagnoses.labels import label_name
from diagnoses.models import Finding, ModelVersion
from diagnoses.pages.audit import record_read
from ml.labels import is_flagged

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
class ScoreLine:
    """The scores of both versions for a label of an image."""

    display: str
    first: str
    first_flagged: bool
    second: str
    second_flagged: bool
    differs: bool


@dataclass(frozen=True)
class ImageLine:
    """An image on which they differ, and the links to it."""

    key: str
    url: str
    study_url: str
    greatest_difference: str
    scores: tuple[ScoreLine, ...]


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
        if image:
            context |= _image(request, first, second, image)
        else:
            user = signed_in_user(request)
            context |= _compared(request, compare(first, second, user=user))
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
            raise NotFound(_("There is no such version to compare."))
        return known.get(named[0]), known.get(named[1])
    shadow = next(iter(shadow_models()), None)
    active = active_models()
    same_name = [one for one in active if shadow and one.name == shadow.name]
    return next(iter([*same_name, *active]), None), shadow


def _compared(request: HttpRequest, result: Comparison) -> dict[str, Any]:
    _record(request, result.first, result.second, result.differing)
    return {
        "images": result.images,
        "labels": [_label_line(label) for label in result.labels],
        "unclaimed": _unclaimed_sentence(result),
        "highest": _agreement_words(result.highest) if result.highest else "",
        "images_differing": result.images_differing,
        "differing": [
            _image_line(image, result.first, result.second, request)
            for image in result.differing
        ],
    }


def _image(
    request: HttpRequest, first: ModelVersion, second: ModelVersion, image: str
) -> dict[str, Any]:
    try:
        key = UUID(image)
    except ValueError as error:
        raise NotFound(_("There is no such image.")) from error
    compared = compare_image(first, second, image=key, user=signed_in_user(request))
    if compared is None:
        raise NotFound(
            _("Not both versions have scored this image, or you have no access to it.")
        )
    _record(request, first, second, (compared,))
    line = _image_line(compared, first, second, request, everything=True)
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
        display=label_name(label.label),
        counts=(label.both, label.first_only, label.second_only, label.neither),
        agreement=_two(agreement.share),
        kappa=_two(agreement.kappa),
        mean_difference=f"{label.mean_difference:.3f}",
        greatest_difference=_two(label.greatest_difference),
    )


def _unclaimed_sentence(result: Comparison) -> str:
    """Return which labels have no mark because a card claims no accuracy, or ""."""
    versions = (result.first, result.second)
    names = [
        label_name(label.label)
        for label in result.labels
        if any(label.label not in version.claimed_labels for version in versions)
    ]
    if not names:
        return ""
    return gettext("A card claims no accuracy for: %(labels)s.") % {
        "labels": ", ".join(names)
    }


def _agreement_words(agreement: Agreement) -> str:
    return gettext(
        "Both versions give the same label the highest score on %(agreed)d of "
        "%(images)d images (%(share)s; Cohen's kappa %(kappa)s)."
    ) % {
        "agreed": agreement.agreed,
        "images": agreement.images,
        "share": _two(agreement.share),
        "kappa": _two(agreement.kappa),
    }


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
        scores=tuple(
            ScoreLine(
                display=label_name(label.label),
                first=_score(label.first),
                first_flagged=_is_flagged(label.first, first),
                second=_score(label.second),
                second_flagged=_is_flagged(label.second, second),
                differs=label.differs,
            )
            for label in image.labels
            if everything or label.differs
        ),
    )


def _is_flagged(finding: Finding, version: ModelVersion) -> bool:
    return is_flagged(
        finding.label, positive=finding.positive, claimed_labels=version.claimed_labels
    )


def _score(finding: Finding) -> str:
    return f"{finding.probability:.2f} · {finding.threshold:.2f}"


def _address(first: ModelVersion, second: ModelVersion, **more: str) -> str:
    query = {"first": written(first), "second": written(second), **more}
    return f"{reverse('model-compare')}?{urlencode(query)}"


def _study_url(image: ImageComparison, request: HttpRequest) -> str:
    """Return the link to the study, for users who may see patients."""
    if not may(request.user, Action.READ_PATIENTS):
        return ""
    query = urlencode({"image": image.instance_id})
    return f"{reverse('study', args=[image.study_id])}?{query}"
