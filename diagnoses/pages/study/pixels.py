"""The pixels of an image, and its heat map as a layer of its own."""

from uuid import UUID

from django.http import HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.access import Action, require, visible
from accounts.errors import InvalidInput, NotFound
from diagnoses import heat_maps
from diagnoses.heat_maps import SIZES
from diagnoses.models import HeatMap
from diagnoses.pages.audit import record_read
from diagnoses.pages.request import PageRequest
from ml import overlay
from patients import decode
from patients.models import Instance
from patients.storage import local_path

# A heat map is a grid of a few cells: more pixels than this show no more of it.
LAYER_SIZE = 640
LONGEST_SIZE = 5


@require_safe
def image(request: PageRequest, instance_id: UUID, frame: int) -> HttpResponse:
    """Return one frame, counted from 0, as a PNG; `size` is its longest side."""
    require(request, Action.READ_IMAGES)
    instance = _visible(request, instance_id, frame)
    size = _size(request)
    with local_path(instance) as path:
        display = decode.display(path, frame)
    picture = overlay.display_png(display, size=size)
    record_read(
        request,
        object_kind="instance",
        object_uuid=instance.pk,
        patients=[instance.series.study.patient_id],
        detail={"frame": frame, "size": size},
    )
    return HttpResponse(picture, content_type="image/png")


@require_safe
def annotations(request: PageRequest, instance_id: UUID, frame: int) -> HttpResponse:
    """Return the overlay planes of one frame as a transparent PNG of its size."""
    require(request, Action.READ_IMAGES)
    instance = _visible(request, instance_id, frame)
    with local_path(instance) as path:
        mask = decode.annotations(path, frame)
    picture = overlay.layer_png(overlay.annotation_layer(mask))
    record_read(
        request,
        object_kind="instance",
        object_uuid=instance.pk,
        patients=[instance.series.study.patient_id],
        detail={"frame": frame, "annotations": True},
    )
    return HttpResponse(picture, content_type="image/png")


def _visible(request: PageRequest, instance_id: UUID, frame: int) -> Instance:
    instance = (
        Instance.objects.visible_to(request.user)
        .select_related("series__study")
        .defer("header")
        .filter(pk=instance_id)
        .first()
    )
    if instance is None or frame >= (instance.frames or 1):
        raise NotFound(
            _("This image does not exist, or belongs to another department.")
        )
    return instance


@require_safe
def heat_layer(request: PageRequest, finding_id: UUID) -> HttpResponse:
    """Return the heat map of a finding as a transparent PNG of the image's geometry.

    `?cells=1` draws flat cells.
    """
    require(request, Action.READ_IMAGES)
    require(request, Action.READ_RESULTS)
    heat_map = (
        visible(HeatMap.objects.filter(finding_id=finding_id), request.user)
        .select_related("finding__prediction__instance__series__study")
        .defer("finding__prediction__instance__header")
        .first()
    )
    geometry = heat_map.finding.prediction.geometry if heat_map else None
    if heat_map is None or geometry is None:
        raise NotFound(
            _("This heat map does not exist, or belongs to another department.")
        )
    prediction = heat_map.finding.prediction
    cells = request.GET.get("cells") == "1"
    picture = heat_maps.heat_layer(heat_map, size=LAYER_SIZE, cells=cells)
    record_read(
        request,
        object_kind="finding",
        object_uuid=heat_map.finding_id,
        patients=[prediction.instance.series.study.patient_id],
    )
    return HttpResponse(picture, content_type="image/png")


def _size(request: PageRequest) -> int | None:
    text = request.GET.get("size", "")
    if not text:
        return None
    if not (text.isdecimal() and int(text[:LONGEST_SIZE]) in SIZES):
        sentence = gettext("size must be from %(smallest)d to %(largest)d.") % {
            "smallest": SIZES[0],
            "largest": SIZES[-1],
        }
        raise InvalidInput(sentence, fields={"size": [sentence]})
    return int(text[:LONGEST_SIZE])
