"""A study: the image, what the models found on it, and what came before."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Action, may, require
from accounts.audit import AuditSource
from accounts.errors import NotFound
from diagnoses.models import Prediction, WorklistEntry
from diagnoses.pages.audit import record_read
from diagnoses.pages.polling import Watch, asked_times
from diagnoses.pages.study.priors import earlier_studies
from diagnoses.pages.study.results import ModelOutput, layer_of, results_of
from diagnoses.pages.study.stage import image_view, image_words
from diagnoses.pages.words.identity import (
    accession_words,
    flag_sentences,
    patient_facts,
    study_words,
)
from diagnoses.pages.words.signs import PRIORITIES
from diagnoses.worker.retries import retry_for
from diagnoses.worker.sweeper import delayed_since
from patients.models import Instance, Origin, Priority, Study

_Status = Prediction.Status
# More images than this are walked one by one instead of being named side by side.
IMAGES_SIDE_BY_SIDE = 6


@dataclass(frozen=True)
class Step:
    """A way to another image or frame of the study."""

    word: str
    url: str
    current: bool = False


@require_safe
def study(request: HttpRequest, study_id: UUID) -> HttpResponse:
    """Show one image of a study and what was said about it."""
    shown = _study_of(request, study_id)
    images = _images_of(shown)
    image = _chosen_image(request, shown, images)
    frame = _chosen_frame(request, image)
    record_read(
        request,
        object_kind="study",
        object_uuid=shown.pk,
        patients=[shown.patient_id],
        detail={"image": str(image.pk)} if image else {},
    )
    results = _results(request, image)
    series = [one.series for one in images]
    earlier = earlier_studies(shown, user=request.user)
    return render(
        request,
        "study/page.html",
        {
            "section": "worklist",
            "analysis_delayed_since": delayed_since(),
            "study": _study_words(shown, series),
            "image": image_view(image, frame=frame, user=request.user),
            "images": _steps(images, image, frame=frame),
            "layer": layer_of(results),
            "priors": earlier,
            "priors_all_url": _history_url(shown),
            **_results_context(request, shown, image, results),
        },
    )


@require_safe
def results(request: HttpRequest, study_id: UUID) -> HttpResponse:
    """Show what was said about one image: the part of the page that changes itself."""
    shown = _study_of(request, study_id)
    image = _chosen_image(request, shown, _images_of(shown))
    record_read(
        request,
        object_kind="study",
        object_uuid=shown.pk,
        patients=[shown.patient_id],
        detail={"image": str(image.pk)} if image else {},
    )
    said = _results(request, image)
    context = _results_context(request, shown, image, said)
    return render(request, "study/results.html", context)


@require_safe
def changes(request: HttpRequest, study_id: UUID) -> HttpResponse:
    """Say whether an image's runs have changed, and nothing about what they say."""
    shown = _study_of(request, study_id)
    image = _chosen_image(request, shown, _images_of(shown))
    runs = list(
        Prediction.objects.visible_to(request.user)
        .filter(instance=image)
        .order_by("pk")
        .values_list("pk", "status")
    )
    if _state_of(runs) != request.GET.get("state"):
        return HttpResponse("", headers={"HX-Trigger": "study-changed"})
    watch = _watch(shown, image, runs, times=asked_times(request) + 1)
    return render(request, "study/watch.html", {"watch": watch})


@require_POST
def retry(request: HttpRequest, prediction_id: UUID) -> HttpResponse:
    """Queue another run of a failed one, and go back to its image."""
    require(request, Action.RETRY_PREDICTION)
    failed = (
        Prediction.objects.visible_to(request.user)
        .select_related("instance__series")
        .defer("instance__header")
        .filter(pk=prediction_id)
        .first()
    )
    if failed is None:
        raise NotFound("There is no such run, or none of your departments.")
    retry_for(request.user, failed, source=AuditSource.WEB, request=request)
    messages.success(request, "Queued again.")
    study_url = reverse("study", args=[failed.instance.series.study_id])
    return HttpResponseRedirect(f"{study_url}?image={failed.instance_id}")


def _study_of(request: HttpRequest, study_id: UUID) -> Study:
    require(request, Action.READ_PATIENTS)
    found = (
        Study.objects.visible_to(request.user)
        .select_related("patient")
        .filter(pk=study_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such study, or it belongs to another department.")
    return found


def _images_of(shown: Study) -> list[Instance]:
    return list(
        Instance.objects.filter(series__study=shown, origin=Origin.RECEIVED)
        .select_related("series")
        .defer("header")
        .order_by("series__series_number", "instance_number", "received_at", "pk")
    )


def _chosen_image(
    request: HttpRequest, shown: Study, images: Sequence[Instance]
) -> Instance | None:
    """Return the image that the address names, else the one the worklist speaks of."""
    named = request.GET.get("image", "")
    if named:
        found = next((image for image in images if str(image.pk) == named), None)
        if found is None:
            raise NotFound("There is no such image in this study.")
        return found
    spoken_of = (
        WorklistEntry.objects.filter(study=shown)
        .values_list("prediction__instance_id", flat=True)
        .first()
    )
    return next(
        (image for image in images if image.pk == spoken_of),
        images[0] if images else None,
    )


def _chosen_frame(request: HttpRequest, image: Instance | None) -> int:
    written = request.GET.get("frame", "1")
    frames = (image.frames or 1) if image else 1
    # Nine digits are more frames than there are; int() stumbles over thousands.
    return max(1, min(int(written[:9]), frames)) - 1 if written.isdecimal() else 0


def _results(request: HttpRequest, image: Instance | None) -> list[ModelOutput]:
    if image is None or not may(request.user, Action.READ_RESULTS):
        return []
    try:
        chosen = UUID(request.GET.get("finding", ""))
    except ValueError:
        chosen = None
    return results_of(image, user=request.user, chosen_finding=chosen)


def _results_context(
    request: HttpRequest,
    shown: Study,
    image: Instance | None,
    said: Sequence[ModelOutput],
) -> dict[str, Any]:
    runs = sorted(
        Prediction.objects.visible_to(request.user)
        .filter(instance=image)
        .order_by("pk")
        .values_list("pk", "status")
    )
    asked = {"image": str(image.pk)} if image else {}
    return {
        "results": said,
        "results_hidden": not may(request.user, Action.READ_RESULTS),
        "watch": _watch(shown, image, runs, times=0),
        "results_url": _url("study-results", shown, asked),
    }


def _watch(
    shown: Study, image: Instance | None, runs: Sequence[tuple], *, times: int
) -> Watch | None:
    """Return when to ask again whether anything changed; None where nothing will."""
    if image is None or all(status in Prediction.FINISHED for _, status in runs):
        return None
    asked = {"image": str(image.pk), "state": _state_of(runs), "times": str(times)}
    return Watch(_url("study-changes", shown, asked), times)


def _state_of(runs: Sequence[tuple]) -> str:
    return hashlib.sha256(repr([(str(k), s) for k, s in runs]).encode()).hexdigest()[
        :16
    ]


def _url(name: str, shown: Study, asked: dict[str, str]) -> str:
    return f"{reverse(name, args=[shown.pk])}?{urlencode(asked)}"


def _study_words(shown: Study, series: Sequence[Any]) -> dict[str, Any]:
    patient = shown.patient
    facts = [
        fact
        for fact in patient_facts(patient, on=shown.study_date)
        if not fact.startswith("issued by")
    ]
    return {
        "patient_name": patient.display_name,
        "patient_url": reverse("patient", args=[patient.pk]),
        "patient_line": " · ".join(facts[1:] + facts[:1]),
        "study_line": f"{study_words(shown, series)} · {accession_words(shown)}",
        "priority": PRIORITIES[Priority(shown.priority)],
        "warnings": flag_sentences(shown),
        "received_at": timezone.localtime(shown.received_at),
    }


def _history_url(shown: Study) -> str:
    return reverse("patient", args=[shown.patient_id])


def _steps(
    images: Sequence[Instance], current: Instance | None, *, frame: int
) -> list[Step]:
    """Return the ways to the other images, and to the frames beside the present one."""
    if current is None:
        return []
    place = images.index(current)
    if len(images) <= IMAGES_SIDE_BY_SIDE:
        steps = [
            Step(
                f"{n + 1} {image_words(one, number=n + 1)}",
                f"?image={one.pk}",
                n == place,
            )
            for n, one in enumerate(images)
        ]
    else:
        steps = _around("Image", place, [f"?image={one.pk}" for one in images])
    if current.frames and current.frames > 1:
        steps += _around(
            "Frame",
            frame,
            [f"?image={current.pk}&frame={n + 1}" for n in range(current.frames)],
        )
    return steps


def _around(word: str, place: int, urls: Sequence[str]) -> list[Step]:
    steps = [Step(f"{word} {place + 1} of {len(urls)}", urls[place], current=True)]
    if place > 0:
        steps.insert(0, Step("‹", urls[place - 1]))
    if place + 1 < len(urls):
        steps.append(Step("›", urls[place + 1]))
    return steps
