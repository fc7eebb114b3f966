"""Compare a file with the stored object that has the same SOP Instance UID."""

from dataclasses import dataclass

from accounts.errors import InvalidInput
from accounts.messages import Message
from patients import decode, messages, output, storage
from patients.conflicts.quarantine import Conflicting
from patients.dicom.hashes import hash_object
from patients.incoming import IncomingImage
from patients.models import Instance

# Two decoders of one lossy stream, or two lossy copies, differ by rounding.
GREATEST_LOSSY_DIFFERENCE = 2.0


@dataclass(frozen=True)
class Recognised:
    """A stored object that the file is a copy of.

    Attributes:
        note: How the copy differs; None for a true copy.
    """

    instance: Instance
    note: Message | None = None


def known_object(image: IncomingImage) -> Instance | None:
    """Return the stored object with the SOP Instance UID of the image, or None."""
    return (
        Instance.objects.select_related(
            "series__study__patient", "series__study__department"
        )
        .filter(sop_instance_uid=image.header.sop_instance_uid)
        .first()
    )


def recognise(image: IncomingImage, known: Instance) -> Recognised:
    """Return how the image is a copy of the stored object.

    Instances never change, so this needs no lock and no transaction.

    Raises:
        Conflicting: conflict_header or conflict_pixels: a different object.
        InvalidInput: The pixels cannot be read.
    """
    if image.object_sha256 == known.object_sha256:
        return Recognised(known)
    if image.hashes.dataset_sha256 == known.dataset_sha256:
        return Recognised(known)
    if image.hashes.header_sha256 != known.header_sha256:
        if _left_with_another_identity(image, known):
            return Recognised(known)
        raise Conflicting(messages.OTHER_HEADER, conflicts_with=known)
    if image.pixel_sha256 and image.pixel_sha256 == known.pixel_sha256:
        return Recognised(known)
    if (image.header.lossy or known.lossy) and _look_the_same(image, known):
        return Recognised(known, note=messages.LOSSY_REENCODED)
    raise Conflicting(messages.OTHER_PIXELS, conflicts_with=known)


def _left_with_another_identity(image: IncomingImage, known: Instance) -> bool:
    """Return whether the file is the stored object as `patients.output` wrote it.

    It may have left before a later correction, so former identities count.
    """
    for identity in output.former_identities(known):
        try:
            written = output.open_dicom(known, identity=identity)
        except InvalidInput:
            return False  # it has never left with another identity
        with written:
            if hash_object(written).dataset_sha256 == image.hashes.dataset_sha256:
                return True
    return False


def _look_the_same(image: IncomingImage, known: Instance) -> bool:
    header = image.header
    shape = (header.rows, header.columns, header.frames)
    if image.pixels is None or shape != (known.rows, known.columns, known.frames):
        return False
    with storage.local_path(known) as stored:
        return (
            decode.greatest_difference(image.path, stored) <= GREATEST_LOSSY_DIFFERENCE
        )
