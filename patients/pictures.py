"""A PNG, JPEG, TIFF or BMP becomes a Secondary Capture, so that behind the door all is DICOM."""

from typing import IO, BinaryIO

from patients.containers import Kind
from patients.dicom import PatientIdentity


def wrap_picture(
    file: BinaryIO, kind: Kind, *, identity: PatientIdentity, accession_number: str = ""
) -> IO[bytes]:
    """Write a picture as a Secondary Capture Image (PS3.3 A.8) and return it, at its start.

    The same file and identity give the same bytes and UIDs. Of the identity only
    patient_id, issuer (DEFAULT_ISSUER where empty) and accession number are written,
    those that the UIDs are made of: names and dates that a form claims live in the
    record, or the same picture sent again with another spelling would be a conflict.

    Returns:
        An open temporary file; `.name` is its path, closing it deletes it.

    Raises:
        InvalidInput: unreadable_pixels, too_many_pixels, decoder_killed.
        Unavailable: decoder_busy.
    """
    raise NotImplementedError
