"""The pictures: an image, and the heat map that lies over it as a layer of its own."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.access import Action, require
from accounts.errors import InvalidInput, NotFound
from diagnoses.heat_maps import SIZES, grid_of
from diagnoses.models import Finding, HeatMap
from diagnoses.pages.audit import record_read
from ml import overlay
from patients import decode
from patients.models import Instance
from patients.storage import local_path

# A grid has a few cells a side: more pixels than this show nothing more of it.
LAYER_SIZE = 640
LONGEST_SIZE = 5


@require_safe
def image(request: HttpRequest, instance_id: UUID, frame: int) -> HttpResponse:
    """Answer one frame, counted from 0, as a PNG; `size` is its longest side."""
    require(request, Action.READ_IMAGES)
    instance = (
        Instance.objects.visible_to(request.user)
        .select_related("series__study")
        .defer("header")
        .filter(pk=instance_id)
        .first()
    )
    if instance is None or frame >= (instance.frames or 1):
        raise NotFound("There is no such image, or it belongs to another department.")
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
def heat_layer(request: HttpRequest, finding_id: UUID) -> HttpResponse:
    """Answer the heat map of a finding as a transparent PNG in its image's geometry."""
    require(request, Action.READ_IMAGES)
    require(request, Action.READ_RESULTS)
    heat_map = (
        HeatMap.objects.filter(finding_id=finding_id)
        .select_related("finding__prediction__instance__series__study")
        .defer("finding__prediction__instance__header")
        .first()
    )
    if heat_map is None or not _is_visible(heat_map, request):
        raise NotFound(
            "There is no such heat map, or it belongs to another department."
        )
    prediction = heat_map.finding.prediction
    layer = overlay.heat_layer(
        grid_of(heat_map), geometry_json=prediction.geometry, size=LAYER_SIZE
    )
    picture = overlay.layer_png(layer)
    record_read(
        request,
        object_kind="finding",
        object_uuid=heat_map.finding_id,
        patients=[prediction.instance.series.study.patient_id],
    )
    return HttpResponse(picture, content_type="image/png")


def _is_visible(heat_map: HeatMap, request: HttpRequest) -> bool:
    seen = Finding.objects.visible_to(request.user)
    return seen.filter(pk=heat_map.finding_id).exists()


def _size(request: HttpRequest) -> int | None:
    written = request.GET.get("size", "")
    if not written:
        return None
    if not (written.isdecimal() and int(written[:LONGEST_SIZE]) in SIZES):
        said = f"From {SIZES[0]} to {SIZES[-1]}."
        raise InvalidInput(f"size: {said}", fields={"size": [said]})
    return int(written[:LONGEST_SIZE])
