"""Heat maps drawn over an image, from the stored grids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput, NotFound
from diagnoses.messages import FIELD_PROBLEM, one_of
from diagnoses.models import Finding, HeatMap, Prediction
from ml import overlay
from ml.overlay import HeatScale
from patients import decode, storage

SIZES = range(32, 4097)
DEFAULT_OPACITY = 0.5
# The unit of heat maps, in the provenance of a run.
LOGIT = "contribution to the logit"


@dataclass(frozen=True)
class RunHeatMaps:
    """The heat maps of one run without their values.

    Attributes:
        scale: The colour scale of all of them.
        in_logits: Whether their unit is the contribution to the logit. Former versions
            stored means of relative maps for ensembles, whose unit is not known.
        shapes: The rows and columns of the map of each finding.
        painted: The findings whose map has a cell that is painted.
    """

    scale: HeatScale
    in_logits: bool
    shapes: Mapping[UUID, tuple[int, int]]
    painted: frozenset[UUID]


def heat_maps_of(run_ids: Iterable[UUID]) -> dict[UUID, RunHeatMaps]:
    """Return the heat maps of each run that has any, in two narrow queries."""
    rows: dict[UUID, list[tuple[UUID, int, int, float, float]]] = {}
    stored = HeatMap.objects.filter(finding__prediction__in=list(run_ids)).values_list(
        "finding__prediction",
        "finding",
        "rows",
        "columns",
        "scale",
        "finding__probability",
    )
    for run, finding, height, width, strongest, probability in stored:
        of_run = rows.setdefault(run, [])
        of_run.append((finding, height, width, strongest, probability))
    in_logits = _runs_in_logits(rows)
    return {
        run: _run_heat_maps(maps, in_logits=run in in_logits)
        for run, maps in rows.items()
    }


def heat_maps_of_run(run_id: UUID) -> RunHeatMaps:
    """Return the heat maps of a run.

    Raises:
        NotFound: It has none, or was erased meanwhile.
    """
    found = heat_maps_of([run_id]).get(run_id)
    if found is None:
        raise _no_heat_map()
    return found


def _run_heat_maps(
    maps: Sequence[tuple[UUID, int, int, float, float]], *, in_logits: bool
) -> RunHeatMaps:
    scale = overlay.heat_scale(
        (probability, strongest) for *_, strongest, probability in maps
    )
    return RunHeatMaps(
        scale=scale,
        in_logits=in_logits,
        shapes={finding: (rows, columns) for finding, rows, columns, *_ in maps},
        painted=frozenset(
            finding
            for finding, _rows, _columns, strongest, probability in maps
            if overlay.paints(probability) and strongest >= scale.floor
        ),
    )


def _runs_in_logits(run_ids: Iterable[UUID]) -> set[UUID]:
    """Return the runs whose heat maps are known to be contributions to the logit."""
    runs = Prediction.objects.filter(pk__in=list(run_ids)).values_list(
        "pk", "provenance__heat_map_unit", "model_version__card__members"
    )
    return {key for key, unit, members in runs if unit == LOGIT or not members}


def finding_to_show(prediction: Prediction, label: str = "") -> Finding:
    """Return the finding of a label, or the one with the highest value.

    Args:
        prediction: The run.
        label: As on the model's card; "" for the highest.

    Raises:
        NotFound: The run has no findings (it waits, was rejected, or failed).
        InvalidInput: The run says nothing about this label.
    """
    findings = {finding.label: finding for finding in prediction.findings.all()}
    if not findings:
        raise NotFound(
            _("This run has no heat maps. Its status is “%(status)s”."),
            params={"status": prediction.get_status_display()},
            reason_code="no_heat_map",
        )
    if not label:
        return max(findings.values(), key=lambda finding: finding.probability)
    if label not in findings:
        problem = one_of(findings)
        raise InvalidInput(
            FIELD_PROBLEM,
            params={"field": "label", "problem": problem},
            reason_code="unknown_label",
            fields={"label": [problem]},
        )
    return findings[label]


def _no_heat_map() -> NotFound:
    return NotFound(_("This finding has no heat map."), reason_code="no_heat_map")


def contributions_of(heat_map: HeatMap) -> np.ndarray:
    """Return what each cell adds to the logit, float32 (rows, columns).

    All zero for a finding whose probability is shown as 0.00: it paints nothing.
    """
    if not overlay.paints(heat_map.finding.probability):
        return np.zeros((heat_map.rows, heat_map.columns), np.float32)
    values = np.frombuffer(bytes(heat_map.values), dtype="<f2").astype(np.float32)
    return values.reshape(heat_map.rows, heat_map.columns) * heat_map.scale


def heat_layer(heat_map: HeatMap, *, size: int, cells: bool = False) -> bytes:
    """Return a heat map as a transparent PNG in the geometry of its image.

    Args:
        heat_map: Of a run with a geometry.
        size: Longest side in pixels.
        cells: Draw flat cells.
    """
    prediction = heat_map.finding.prediction
    layer = overlay.heat_layer(
        contributions_of(heat_map),
        scale=heat_maps_of_run(prediction.pk).scale,
        geometry_json=prediction.geometry or {},
        size=size,
        cells=cells,
    )
    return overlay.layer_png(layer)


def overlay_picture(
    finding: Finding,
    *,
    size: int | None = None,
    opacity: float = DEFAULT_OPACITY,
    cells: bool = False,
) -> bytes:
    """Return a PNG of the image with the finding's heat map over it.

    All findings of a run share one colour scale, in contributions to the logit.

    Args:
        finding: Of a run that succeeded.
        size: Longest side in pixels; by default the image's, at most the largest size.
        opacity: 0 shows the image alone, 1 the heat map at its strongest.
        cells: Draw flat cells.

    Raises:
        NotFound: The finding has no heat map.
        Unavailable: The decoder is busy for too long.
    """
    heat_map = HeatMap.objects.filter(finding=finding).select_related("finding").first()
    if heat_map is None:
        raise _no_heat_map()
    prediction = finding.prediction
    if prediction.geometry is None:
        raise _no_heat_map()
    with storage.local_path(prediction.instance) as path:
        display = decode.display(path, prediction.frame)
    if size is None:
        size = min(max(display.shape), SIZES[-1])
    return overlay.overlay_png(
        display,
        contributions_of(heat_map),
        scale=heat_maps_of_run(prediction.pk).scale,
        geometry_json=prediction.geometry,
        opacity=opacity,
        size=size,
        cells=cells,
    )
