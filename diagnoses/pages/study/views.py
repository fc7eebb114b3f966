"""The study page: the image, the model results and the earlier studies."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Action, may, require
from accounts.audit import AuditSource
from accounts.errors import NotFound
from diagnoses.models import Prediction, WorklistEntry
from diagnoses.pages.audit import record_read
from diagnoses.pages.polling import Watch, poll_count
from diagnoses.pages.request import PageRequest
from diagnoses.pages.study.priors import earlier_studies
from diagnoses.pages.study.results import ModelOutput, layer_of, results_of
from diagnoses.pages.study.stage import image_name, image_view
from diagnoses.pages.words.identity import (
    accession_text,
    flag_warnings,
    patient_facts,
    study_text,
)
from diagnoses.pages.words.signs import PRIORITIES
from diagnoses.worker.retries import retry_for
from diagnoses.worker.sweeper import analysis_delay
from diagnoses.worklist import result_of_image
from patients.models import Instance, Origin, Priority, Series, Study

_Status = Prediction.Status
# With more images than this there are only links to the previous and next one.
IMAGES_SIDE_BY_SIDE = 6


@dataclass(frozen=True)
class Step:
    """A link to another image or frame of the study."""

    word: str
    url: str
    current: bool = False


@require_safe
def study(request: PageRequest, study_id: UUID) -> HttpResponse:
    """Show one image of a study and its model results."""
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
            "analysis_delay": analysis_delay(),
            "study": _study_context(shown, series),
            "image": image_view(image, frame=frame, user=request.user),
            "images": _steps(images, image, frame=frame),
            "layer": layer_of(results),
            # A finding that is chosen in the address is asked for with its heat map.
            "heat_map_shown": request.user.heat_map_shown
            or bool(request.GET.get("finding")),
            "heat_map_cells": request.user.heat_map_cells,
            "priors": earlier,
            "priors_all_url": reverse("patient", args=[shown.patient_id]),
            **_results_context(request, shown, image, results),
        },
    )


@require_safe
def results(request: PageRequest, study_id: UUID) -> HttpResponse:
    """Show the results of one image: the part of the page that updates itself."""
    shown = _study_of(request, study_id)
    image = _chosen_image(request, shown, _images_of(shown))
    record_read(
        request,
        object_kind="study",
        object_uuid=shown.pk,
        patients=[shown.patient_id],
        detail={"image": str(image.pk)} if image else {},
    )
    outputs = _results(request, image)
    context = _results_context(request, shown, image, outputs)
    return render(request, "study/results.html", context)


@require_safe
def changes(request: PageRequest, study_id: UUID) -> HttpResponse:
    """Answer whether an image's runs have changed, without their results."""
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
    watch = _watch(shown, image, runs, times=poll_count(request) + 1)
    return render(request, "study/watch.html", {"watch": watch})


@require_POST
def retry(request: PageRequest, prediction_id: UUID) -> HttpResponse:
    """Queue a failed run again, and go back to its image."""
    require(request, Action.RETRY_PREDICTION)
    failed = (
        Prediction.objects.visible_to(request.user)
        .select_related("instance__series")
        .defer("instance__header")
        .filter(pk=prediction_id)
        .first()
    )
    if failed is None:
        raise NotFound(
            _("This model run does not exist, or belongs to another department.")
        )
    retry_for(request.user, failed, source=AuditSource.WEB, request=request)
    messages.success(request, _("The image is queued again."))
    study_url = reverse("study", args=[failed.instance.series.study_id])
    return HttpResponseRedirect(f"{study_url}?image={failed.instance_id}")


def _study_of(request: PageRequest, study_id: UUID) -> Study:
    require(request, Action.READ_PATIENTS)
    study = (
        Study.objects.visible_to(request.user)
        .select_related("patient")
        .filter(pk=study_id)
        .first()
    )
    if study is None:
        raise NotFound(
            _("This study does not exist, or belongs to another department.")
        )
    return study


def _images_of(shown: Study) -> list[Instance]:
    return list(
        Instance.objects.filter(series__study=shown, origin=Origin.RECEIVED)
        .select_related("series")
        .defer("header")
        .order_by("series__series_number", "instance_number", "received_at", "pk")
    )


def _chosen_image(
    request: PageRequest, shown: Study, images: Sequence[Instance]
) -> Instance | None:
    """Return the image named in the address, else the one shown on the worklist."""
    named = request.GET.get("image", "")
    if named:
        chosen = next((image for image in images if str(image.pk) == named), None)
        if chosen is None:
            raise NotFound(_("There is no such image in this study."))
        return chosen
    on_worklist = (
        WorklistEntry.objects.filter(study=shown)
        .values_list("prediction__instance_id", flat=True)
        .first()
    )
    return next(
        (image for image in images if image.pk == on_worklist),
        images[0] if images else None,
    )


def _chosen_frame(request: PageRequest, image: Instance | None) -> int:
    text = request.GET.get("frame", "1")
    frames = (image.frames or 1) if image else 1
    # Nine digits are more frames than there are; int() stumbles over thousands.
    return max(1, min(int(text[:9]), frames)) - 1 if text.isdecimal() else 0


def _results(request: PageRequest, image: Instance | None) -> list[ModelOutput]:
    if image is None or not may(request.user, Action.READ_RESULTS):
        return []
    chosen: UUID | None = None
    with suppress(ValueError):
        chosen = UUID(request.GET.get("finding", ""))
    return results_of(image, user=request.user, chosen_finding=chosen)


def _results_context(
    request: PageRequest,
    shown: Study,
    image: Instance | None,
    outputs: Sequence[ModelOutput],
) -> dict[str, Any]:
    runs = sorted(
        Prediction.objects.visible_to(request.user)
        .filter(instance=image)
        .order_by("pk")
        .values_list("pk", "status")
    )
    query = {"image": str(image.pk)} if image else {}
    return {
        "results": outputs,
        "summary": _summary(request, shown, image),
        "results_hidden": not may(request.user, Action.READ_RESULTS),
        "watch": _watch(shown, image, runs, times=0),
        "results_url": _url("study-results", shown, query),
    }


def _summary(request: PageRequest, shown: Study, image: Instance | None) -> str:
    """Return what the models in use found in an image, in one sentence."""
    if image is None or not may(request.user, Action.READ_RESULTS):
        return ""
    return result_of_image(image, study=shown).result_sentence


def _watch(
    shown: Study, image: Instance | None, runs: Sequence[tuple], *, times: int
) -> Watch | None:
    """Return where to poll for changes; None if all runs have finished."""
    if image is None or all(status in Prediction.FINISHED for _, status in runs):
        return None
    query = {"image": str(image.pk), "state": _state_of(runs), "times": str(times)}
    return Watch(_url("study-changes", shown, query), times)


def _state_of(runs: Sequence[tuple]) -> str:
    states = repr([(str(key), status) for key, status in runs])
    return hashlib.sha256(states.encode()).hexdigest()[:16]


def _url(name: str, shown: Study, query: dict[str, str]) -> str:
    return f"{reverse(name, args=[shown.pk])}?{urlencode(query)}"


def _study_context(shown: Study, series: Sequence[Series]) -> dict[str, Any]:
    patient = shown.patient
    identifier, *facts = patient_facts(patient, on=shown.study_date, with_issuer=False)
    return {
        "patient_name": patient.display_name,
        "patient_url": reverse("patient", args=[patient.pk]),
        "patient_line": " · ".join([*facts, identifier]),
        "study_line": f"{study_text(shown, series)} · {accession_text(shown)}",
        "priority": PRIORITIES[Priority(shown.priority)],
        "warnings": flag_warnings(shown),
    }


def _steps(
    images: Sequence[Instance], current: Instance | None, *, frame: int
) -> list[Step]:
    """Return the links to the other images, and to the previous and next frame."""
    if current is None:
        return []
    place = images.index(current)
    image_urls = [f"?image={one.pk}" for one in images]
    if len(images) <= IMAGES_SIDE_BY_SIDE:
        steps = [
            Step(f"{n + 1} {image_name(one, number=n + 1)}", image_urls[n], n == place)
            for n, one in enumerate(images)
        ]
    else:
        word = gettext("Image %(number)d of %(total)d")
        steps = _around(word, place, image_urls)
    if current.frames and current.frames > 1:
        frames = range(1, current.frames + 1)
        word = gettext("Frame %(number)d of %(total)d")
        frame_urls = [f"?image={current.pk}&frame={number}" for number in frames]
        steps += _around(word, frame, frame_urls)
    return steps


def _around(word: str, place: int, urls: Sequence[str]) -> list[Step]:
    """Return the place itself, and the links to its neighbours."""
    numbers = {"number": place + 1, "total": len(urls)}
    steps = [Step(word % numbers, urls[place], current=True)]
    if place > 0:
        steps.insert(0, Step("‹", urls[place - 1]))
    if place + 1 < len(urls):
        steps.append(Step("›", urls[place + 1]))
    return steps
