"""What is shown around an image: its pictures, the texts in its corners, its sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from accounts.access import Action, may
from accounts.models import User
from patients.models import Instance

# The longest side of the picture that is fitted into the window, in pixels.
FIT_SIZE = 1600
# Patient Orientation (0020,0020), first value: where columns run to.
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
_ORIENTATION_TAG = "00200020"
_WINDOW_CENTRE_TAG = "00281050"
_WINDOW_WIDTH_TAG = "00281051"


@dataclass(frozen=True)
class ImageView:
    """One frame of one instance on the stage; where it cannot be shown, why."""

    shown: bool
    fit_url: str = ""
    full_url: str = ""
    rows: int | None = None
    columns: int | None = None
    alt: str = ""
    corner: Sequence[str] = ()
    window: str = ""
    left_marker: str = ""
    synthetic: bool = False
    instead: str = ""
    instead_line: str = ""


def image_view(instance: Instance | None, *, frame: int, user: User) -> ImageView:
    """Return what the stage shows of a frame, counted from 0."""
    if instance is None:
        return ImageView(shown=False)
    if not may(user, Action.READ_IMAGES):
        return ImageView(
            shown=False,
            synthetic=instance.synthetic,
            instead="Images are not shown to your role",
            instead_line="The image is kept; your role works without it.",
        )
    if not instance.rows or not instance.columns:
        return ImageView(
            shown=False,
            synthetic=instance.synthetic,
            instead="No picture in this object",
            instead_line="It is kept as it came; it holds no pixels by its nature.",
        )
    url = reverse("image", args=[instance.pk, frame])
    return ImageView(
        shown=True,
        fit_url=f"{url}?size={FIT_SIZE}",
        full_url=url,
        rows=instance.rows,
        columns=instance.columns,
        alt=f"{image_words(instance)}, {instance.columns} by {instance.rows} pixels",
        corner=_corner(instance, frame),
        window=_window(instance.header),
        left_marker=left_marker(instance.header),
        synthetic=instance.synthetic,
    )


def image_words(instance: Instance, *, number: int = 1) -> str:
    """Name an image by its view, else by what its series says, else by its number."""
    view = instance.view_position or instance.series.view_position
    return view or instance.series.description or f"Image {number}"


def _corner(instance: Instance, frame: int) -> list[str]:
    series = instance.series
    view = instance.view_position or series.view_position
    facts = [
        series.modality,
        f"{instance.columns} × {instance.rows}",
        f"{instance.bits_stored} bit" if instance.bits_stored else "",
        "lossy" if instance.lossy else "",
    ]
    lines = [view, " · ".join(fact for fact in facts if fact)]
    if instance.frames and instance.frames > 1:
        lines.append(f"Frame {frame + 1} of {instance.frames}")
    return [line for line in lines if line]


def left_marker(header: Mapping[str, Any]) -> str:
    """Return what lies at the left edge of the picture; "" where nobody said.

    The first value of Patient Orientation tells where columns run to, so the left
    edge is its opposite (PS3.3 C.7.6.1.1.1).
    """
    towards = _first_value(header, _ORIENTATION_TAG)
    return _OPPOSITE.get(str(towards or "")[:1], "")


def _window(header: Mapping[str, Any]) -> str:
    width = _first_value(header, _WINDOW_WIDTH_TAG)
    centre = _first_value(header, _WINDOW_CENTRE_TAG)
    if not isinstance(width, int | float) or not isinstance(centre, int | float):
        return ""
    return f"W {width:g} · L {centre:g}"


def _first_value(header: Mapping[str, Any], tag: str) -> object:
    """Return the first value of an attribute in the DICOM JSON model (PS3.18 F.2)."""
    attribute = header.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return values[0] if isinstance(values, list) and values else None
