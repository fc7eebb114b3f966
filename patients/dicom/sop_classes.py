"""SOP classes that are stored (PS3.4 B.5)."""

from functools import lru_cache

from pydicom.uid import UID, UID_dictionary


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
