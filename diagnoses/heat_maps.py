"""Heat maps drawn over an image, from the stored grids."""

import numpy as np
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput, NotFound
from diagnoses.messages import FIELD_PROBLEM, one_of
from diagnoses.models import Finding, HeatMap, Prediction
from ml import overlay
from patients import decode, storage

SIZES = range(32, 4097)
DEFAULT_OPACITY = 0.5


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


def grid_of(heat_map: HeatMap) -> np.ndarray:
    """Return the stored grid, float16 (rows, columns), 0 to at most 1."""
    values = np.frombuffer(bytes(heat_map.values), dtype="<f2")
    return values.reshape(heat_map.rows, heat_map.columns)


def overlay_picture(
    finding: Finding, *, size: int | None = None, opacity: float = DEFAULT_OPACITY
) -> bytes:
    """Return a PNG of the image with the finding's heat map over it.

    Args:
        finding: Of a run that succeeded.
        size: Longest side in pixels; by default the image's, at most the largest size.
        opacity: 0 shows the image alone, 1 the heat map at its strongest.

    Raises:
        NotFound: The finding has no heat map.
        Unavailable: The decoder is busy for too long.
    """
    heat_map = HeatMap.objects.filter(finding=finding).first()
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
        grid_of(heat_map),
        geometry_json=prediction.geometry,
        opacity=opacity,
        size=size,
    )
