"""The same object or not: what a file is whose SOP Instance UID is already stored."""

from dataclasses import dataclass

from patients import decode, storage
from patients.conflicts.quarantine import Conflicting, ConflictReason
from patients.incoming import IncomingFilm
from patients.models import Instance

# Two decoders of one lossy stream, or two lossy copies, differ by rounding.
GREATEST_LOSSY_DIFFERENCE = 2.0
LOSSY_REENCODED = "lossy_reencoded"


@dataclass(frozen=True)
class Recognised:
    """The file is a copy of a stored object; `reason_code` is empty for a true copy."""

    instance: Instance
    reason_code: str = ""
    reason: str = ""


def known_object(film: IncomingFilm) -> Instance | None:
    """Return the stored object of the film's SOP Instance UID."""
    return (
        Instance.objects.select_related(
            "series__study__patient", "series__study__department"
        )
        .filter(sop_instance_uid=film.header.sop_instance_uid)
        .first()
    )


def recognise(film: IncomingFilm, known: Instance) -> Recognised:
    """Say how the film is a copy of the stored object with its SOP Instance UID.

    Instances never change, so this needs no lock and no transaction.

    Raises:
        Conflicting: conflict_header or conflict_pixels: another object under that UID.
        InvalidInput: The pixels cannot be read.
    """
    if film.object_sha256 == known.object_sha256:
        return Recognised(known)
    if film.hashes.dataset_sha256 == known.dataset_sha256:
        return Recognised(known)
    if film.hashes.header_sha256 != known.header_sha256:
        raise Conflicting(
            ConflictReason.HEADER,
            "This film is already stored, with the same SOP Instance UID but other "
            "information in its header.",
            conflicts_with=known,
        )
    if film.pixel_sha256 and film.pixel_sha256 == known.pixel_sha256:
        return Recognised(known)
    if (film.header.lossy or known.lossy) and _look_the_same(film, known):
        return Recognised(
            known,
            reason_code=LOSSY_REENCODED,
            reason="The same film, compressed again with loss; the first copy stands.",
        )
    raise Conflicting(
        ConflictReason.PIXELS,
        "This film is already stored, with the same SOP Instance UID but other pixels.",
        conflicts_with=known,
    )


def _look_the_same(film: IncomingFilm, known: Instance) -> bool:
    header = film.header
    shape = (header.rows, header.columns, header.frames)
    if film.pixels is None or shape != (known.rows, known.columns, known.frames):
        return False
    with storage.local_path(known) as stored:
        return (
            decode.greatest_difference(film.path, stored) <= GREATEST_LOSSY_DIFFERENCE
        )
