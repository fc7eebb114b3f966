"""SOP classes that are stored, and those that must have pixels (PS3.4 B.5)."""

from functools import lru_cache

from pydicom.uid import UID, UID_dictionary

# Image classes without "Image" in their names.
_IMAGES_BY_OTHER_NAMES = (
    "Segmentation Storage",
    "Parametric Map Storage",
    "Enhanced US Volume Storage",
    "Thickness Map Storage",
    "Topography Map Storage",
    "B-scan Volume Analysis Storage",
)
_NO_IMAGES = ("Surface Segmentation Storage",)


@lru_cache(maxsize=512)
def is_storage_class(uid: str) -> bool:
    """Return whether objects of this class can be stored.

    A class that the dictionary does not know (a private or a newer one) may be.
    """
    if uid not in UID_dictionary:
        return True
    sop_class = UID(uid)
    return (
        sop_class.type == "SOP Class"
        and "Storage" in sop_class.name
        and ("Directory" not in sop_class.name and "Commitment" not in sop_class.name)
    )


@lru_cache(maxsize=512)
def must_have_pixels(uid: str) -> bool:
    """Return whether objects of this class must have pixels.

    Reports, presentation states, encapsulated documents, waveforms, plans and raw data
    have none by nature; of an unknown class nothing else could be kept.
    """
    if uid not in UID_dictionary:
        return True
    name = UID(uid).name
    if name.startswith(_NO_IMAGES):
        return False
    return "Image Storage" in name or any(n in name for n in _IMAGES_BY_OTHER_NAMES)
