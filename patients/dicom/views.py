"""The body part and the view of an image, from several attributes."""

from ml.views import view_of
from patients.dicom import tags
from patients.dicom.text import one_line
from patients.dicom.values import Elements


def body_part(elements: Elements) -> str:
    """Return Body Part Examined (0018,0015), else the meaning of the coded region."""
    named = one_line(elements.text(tags.BODY_PART_EXAMINED), 64).upper()
    if named:
        return named
    for item in elements.items(tags.ANATOMIC_REGION):
        meaning = one_line(item.text(tags.CODE_MEANING), 64).upper()
        if meaning:
            return meaning
    return ""


def view_position(elements: Elements) -> str:
    """Return View Position (0018,5101), else the view that the header names elsewhere.

    See `ml.views.view_of`.
    """
    return view_of(
        view_position=one_line(elements.text(tags.VIEW_POSITION), 16),
        codes=[
            (item.text(tags.CODE_VALUE), item.text(tags.CODE_MEANING))
            for item in elements.items(tags.VIEW_CODE)
        ],
        descriptions=[
            elements.text(tag) for tag in (tags.SERIES_DESCRIPTION, tags.PROTOCOL_NAME)
        ],
        row_direction=elements.text(tags.PATIENT_ORIENTATION),
    )
