"""An incoming file: its kind, header and hashes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from django.conf import settings
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from accounts.errors import InvalidInput, TooLarge
from patients import containers, decode, messages, storage
from patients.containers import Kind
from patients.decode import PixelFacts
from patients.dicom import hashes
from patients.dicom.hashes import ObjectHashes
from patients.dicom.header import Header, PatientIdentity, read_header
from patients.files.temporary import sha256_of
from patients.identity.submitted import SubmittedIdentity
from patients.secondary_capture import wrap_picture

# What `wrap_picture` writes where it does not keep a JPEG as it is.
_ENCODED_ANEW = frozenset({ExplicitVRLittleEndian, JPEGLSLossless})


@dataclass(frozen=True)
class Receipt:
    """Hash and size of a received file, also of a refused one."""

    sha256: str
    size_bytes: int | None
    too_large: bool


@dataclass
class IncomingImage:
    """A complete file with a readable header.

    Attributes:
        path: The DICOM object on disk: the file as sent, or the one made of a picture.
        object_sha256: Of the bytes at `path`.
        picture: Whether it was sent as PNG, JPEG, TIFF or BMP.
        original: The picture as sent, where its pixels were encoded anew.
    """

    path: Path
    object_sha256: str
    size_bytes: int
    header: Header
    picture: bool
    original: IO[bytes] | None = None

    @cached_property
    def hashes(self) -> ObjectHashes:
        """The hashes that show whether two files are the same object."""
        with self.path.open("rb") as file:
            return hashes.hash_object(file, object_sha256=self.object_sha256)

    @cached_property
    def pixels(self) -> PixelFacts | None:
        """Facts about the decoded pixels; None without pixels or without a decoder.

        Raises:
            InvalidInput: The pixels cannot be read.
            Unavailable: The decoder is busy for too long.
        """
        if not self.header.has_pixels:
            return None
        try:
            return decode.pixel_facts(self.path)
        except InvalidInput as error:
            # The object is stored anyway: a later version may decode it.
            if error.reason_code == "unsupported_transfer_syntax":
                return None
            raise

    def read_content(self) -> None:
        """Hash and decode now, so that later accesses are quick."""
        _ = self.hashes, self.pixels

    @property
    def pixel_sha256(self) -> str | None:
        """The hash of the decoded pixels, if there is one."""
        return self.pixels.pixel_sha256 if self.pixels else None


def receipt_of(file: IO[bytes]) -> Receipt:
    """Return the hash and size of a file, from the upload handler if it has them."""
    received = getattr(file, "received_bytes", None)
    if received is not None:
        return Receipt(
            sha256=getattr(file, "sha256", ""),
            size_bytes=received,
            too_large=bool(getattr(file, "too_large", False)),
        )
    size = file.seek(0, 2)
    file.seek(0)
    if size > settings.MAX_FILE_BYTES:
        return Receipt(sha256="", size_bytes=size, too_large=True)
    digest = sha256_of(file)
    file.seek(0)
    return Receipt(sha256=digest, size_bytes=size, too_large=False)


@contextmanager
def opened(
    file: IO[bytes], *, receipt: Receipt, submitted_identity: SubmittedIdentity
) -> Iterator[IncomingImage]:
    """Check a file and give it as a DICOM image; pictures are converted.

    Args:
        file: Open for reading, and seekable.
        receipt: From `receipt_of`.
        submitted_identity: Checked; the UIDs of a picture depend on it.

    Raises:
        InvalidInput: The file is incomplete, not an image, or has no readable header.
        TooLarge: The file is over the limit.
        Unavailable: The decoder is busy for too long.
    """
    if receipt.too_large:
        raise TooLarge(
            messages.FILE_TOO_LARGE,
            params={"limit_mb": settings.MAX_FILE_BYTES // (1024 * 1024)},
        )
    file.seek(0)
    kind = containers.sniff(file)
    file.seek(0)
    containers.check_whole(file, kind)
    file.seek(0)
    picture = kind is not Kind.DICOM
    with (
        _as_picture(file, kind, submitted_identity)
        if picture
        else nullcontext(file) as source,
        storage.on_disk(source) as path,
    ):
        image = _image(path, sha256="" if picture else receipt.sha256, picture=picture)
        if picture and image.header.transfer_syntax_uid in _ENCODED_ANEW:
            image.original = file
        yield image


def _image(path: Path, *, sha256: str, picture: bool) -> IncomingImage:
    with path.open("rb") as file:
        header = read_header(file)
        if not sha256:
            sha256 = sha256_of(file)
    return IncomingImage(
        path=path,
        object_sha256=sha256,
        size_bytes=path.stat().st_size,
        header=header,
        picture=picture,
    )


@contextmanager
def _as_picture(
    file: IO[bytes], kind: Kind, submitted_identity: SubmittedIdentity
) -> Iterator[IO[bytes]]:
    identity = PatientIdentity(
        patient_id=submitted_identity.patient_id or None,
        issuer=submitted_identity.issuer,
    )
    with wrap_picture(
        file,
        kind,
        identity=identity,
        accession_number=submitted_identity.accession_number,
    ) as wrapped:
        yield wrapped
