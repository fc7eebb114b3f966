"""The image on the study page: its pictures, corner texts and orientation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may
from accounts.models import User
from ml.images.overlay_planes import GROUPS
from patients.models import Instance

# The longest side of the picture that is fitted into the window, in pixels.
FIT_SIZE = 1600
# Patient Orientation (0020,0020), first value: the direction of the rows.
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
_ORIENTATION_TAG = "00200020"
_WINDOW_CENTRE_TAG = "00281050"
_WINDOW_WIDTH_TAG = "00281051"


@dataclass(frozen=True)
class ImageView:
    """One frame of one image; if it cannot be shown, the reason."""

    shown: bool
    fit_url: str = ""
    full_url: str = ""
    annotations_url: str = ""
    rows: int | None = None
    columns: int | None = None
    alt: str = ""
    corner: Sequence[str] = ()
    window: str = ""
    left_marker: str = ""
    synthetic: bool = False
    missing_title: Promise | str = ""
    missing_reason: Promise | str = ""


def image_view(instance: Instance | None, *, frame: int, user: User) -> ImageView:
    """Return what the page shows of a frame, counted from 0."""
    if instance is None:
        return ImageView(
            shown=False,
            missing_title=_("No image"),
            missing_reason=_("This study has no image that can be shown."),
        )
    if not may(user, Action.READ_IMAGES):
        return ImageView(
            shown=False,
            synthetic=instance.synthetic,
            missing_title=_("Your role does not show images"),
            missing_reason=_("The image is stored."),
        )
    if not instance.rows or not instance.columns:
        return ImageView(
            shown=False,
            synthetic=instance.synthetic,
            missing_title=_("No image in this DICOM object"),
            missing_reason=_("The object is stored unchanged. It has no pixel data."),
        )
    url = reverse("image", args=[instance.pk, frame])
    return ImageView(
        shown=True,
        fit_url=f"{url}?size={FIT_SIZE}",
        full_url=url,
        annotations_url=reverse("annotations", args=[instance.pk, frame])
        if has_annotations(instance.header)
        else "",
        rows=instance.rows,
        columns=instance.columns,
        alt=gettext("%(image)s, %(columns)d by %(rows)d pixels")
        % {
            "image": image_name(instance),
            "columns": instance.columns,
            "rows": instance.rows,
        },
        corner=_corner(instance, frame),
        window=_window(instance.header),
        left_marker=left_marker(instance.header),
        synthetic=instance.synthetic,
    )


def image_name(instance: Instance, *, number: int = 1) -> str:
    """Return the view of an image, else its series' description, else its number."""
    view = instance.view_position or instance.series.view_position
    if view or instance.series.description:
        return view or instance.series.description
    return gettext("Image %(number)d") % {"number": number}


def _corner(instance: Instance, frame: int) -> list[str]:
    series = instance.series
    view = instance.view_position or series.view_position
    facts = [
        series.modality,
        f"{instance.columns} × {instance.rows}",
        gettext("%(bits)d bit") % {"bits": instance.bits_stored}
        if instance.bits_stored
        else "",
        gettext("lossy") if instance.lossy else "",
    ]
    lines = [view, " · ".join(fact for fact in facts if fact)]
    if instance.frames and instance.frames > 1:
        place = {"number": frame + 1, "total": instance.frames}
        lines.append(gettext("Frame %(number)d of %(total)d") % place)
    return [line for line in lines if line]


def has_annotations(header: Mapping[str, Any]) -> bool:
    """Return whether the object has an overlay plane (60xx,3000; PS3.3 C.9.2)."""
    return any(f"{group:04X}3000" in header for group in GROUPS)


def left_marker(header: Mapping[str, Any]) -> str:
    """Return the patient's side at the left edge of the image; "" if not known.

    The first value of Patient Orientation is the direction of rows, so the left edge
    is its opposite (PS3.3 C.7.6.1.1.1).
    """
    towards = _first_value(header, _ORIENTATION_TAG)
    return _OPPOSITE.get(str(towards or "")[:1], "")


def _window(header: Mapping[str, Any]) -> str:
    width = _first_value(header, _WINDOW_WIDTH_TAG)
    centre = _first_value(header, _WINDOW_CENTRE_TAG)
    if not isinstance(width, int | float) or not isinstance(centre, int | float):
        return ""
    return gettext("W %(width)s · L %(level)s") % {
        "width": f"{width:g}",
        "level": f"{centre:g}",
    }


def _first_value(header: Mapping[str, Any], tag: str) -> object:
    """Return the first value of an attribute in the DICOM JSON model (PS3.18 F.2)."""
    attribute = header.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return values[0] if isinstance(values, list) and values else None
