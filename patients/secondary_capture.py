"""Convert a PNG, JPEG, TIFF or BMP to a DICOM Secondary Capture.

The bytes depend on the file, patient_id, issuer and accession number alone, so the
same picture sent again for the same patient is the same object (PS3.5 B.2).
"""

import hashlib
import io
import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from django.conf import settings
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    SecondaryCaptureImageStorage,
)

from accounts.errors import InvalidInput, TooLarge
from patients import decode, messages
from patients.containers import Kind
from patients.dicom import tags
from patients.dicom.header import LONGEST_IDENTIFIER, PatientIdentity
from patients.files.jpeg import JpegStructure, read_jpeg
from patients.files.mapped import mapped
from patients.files.temporary import CHUNK_BYTES, new_temporary_file, on_disk

# The UID of ChestX: 2.25 and a UUID, as PS3.5 B.2 allows.
IMPLEMENTATION_CLASS_UID = UID("2.25.268110932044218253026216823110398476853")
IMPLEMENTATION_VERSION = "CHESTX"
_JPEG_METHOD = "ISO_10918_1"
# Baseline and extended sequential, Huffman-coded: PS3.5 A.4.1 takes them unchanged.
_LEGAL_PROCESSES = {(0, 8): JPEGBaseline8Bit, (1, 8): JPEGExtended12Bit} | {
    (1, 12): JPEGExtended12Bit
}
_YBR_IDS = (1, 2, 3)


@dataclass(frozen=True)
class _Pixels:
    """Pixel data as it is written into the dataset, and its description."""

    rows: int
    columns: int
    samples: int
    bits: int
    photometric_interpretation: str
    data: bytes
    transfer_syntax_uid: UID
    lossy_ratio: float | None
    shown_range: tuple[int, int] | None = None


def wrap_picture(
    file: IO[bytes],
    kind: Kind,
    *,
    identity: PatientIdentity,
    accession_number: str = "",
) -> IO[bytes]:
    """Write a picture as a Secondary Capture Image (PS3.3 A.8) and return the file.

    The same file and identity give the same bytes and UIDs. Of the identity only
    patient_id, issuer (DEFAULT_ISSUER where empty) and accession number are written:
    the UIDs are made of them. Names and dates of a form are kept in the record, since
    the same picture sent again with another spelling would be a conflict otherwise.

    A baseline or extended sequential grey or YBR JPEG is kept unchanged. Everything
    else is decoded, its EXIF orientation applied, and stored without loss in
    the transfer syntax that `decode.encode_picture` chooses.

    Returns:
        An open temporary file at its start; `.name` is its path, closing deletes it.

    Raises:
        InvalidInput: unreadable_pixels, too_many_pixels, decoder_killed or
            invalid_header (an identifier that a DICOM header cannot hold).
        TooLarge: The object would be larger than a file may be.
        Unavailable: decoder_busy.
    """
    issuer = identity.issuer or settings.DEFAULT_ISSUER
    patient_id = identity.patient_id or ""
    for text in (issuer, patient_id, accession_number):
        _check_identifier(text)
    pixels = _pixels(file, kind)
    dataset = _secondary_capture(pixels)
    if patient_id:
        dataset.PatientID, dataset.IssuerOfPatientID = patient_id, issuer
    # Sometimes longer than SH allows; kept whole, since the column holds 64 as well.
    dataset.add(
        DataElement(
            tags.ACCESSION_NUMBER,
            "SH",
            accession_number,
            validation_mode=config.IGNORE,
        )
    )
    names = [text.encode() for text in (issuer, patient_id, accession_number)]
    sop_uid = _uid_of(_file_digest(file, names))
    dataset.SOPInstanceUID = sop_uid
    dataset.SeriesInstanceUID = _uid_from(b"series", sop_uid.encode())
    dataset.StudyInstanceUID = (
        _uid_from(b"study", *names)
        if accession_number
        else _uid_from(b"study", sop_uid.encode())
    )
    return _write(dataset, pixels.transfer_syntax_uid)


def _pixels(file: IO[bytes], kind: Kind) -> _Pixels:
    if kind is Kind.JPEG:
        with mapped(file) as data:
            jpeg = read_jpeg(data)
            if _is_legal(jpeg):
                return _unchanged(jpeg, data[: jpeg.length])
    with on_disk(file) as path:
        encoded = decode.encode_picture(path)
        size_bytes = path.stat().st_size
    syntax = UID(encoded.transfer_syntax_uid)
    return _Pixels(
        rows=encoded.rows,
        columns=encoded.columns,
        samples=encoded.samples,
        bits=encoded.bits,
        photometric_interpretation="RGB" if encoded.samples == 3 else "MONOCHROME2",
        data=encapsulate([encoded.data])
        if syntax.is_encapsulated
        else encoded.data + b"\0" * (len(encoded.data) % 2),
        transfer_syntax_uid=syntax,
        lossy_ratio=encoded.native_bytes / size_bytes if encoded.lossy else None,
        shown_range=encoded.shown_range,
    )


def _is_legal(jpeg: JpegStructure) -> bool:
    """Return whether DICOM takes the JPEG unchanged: grey or YBR, upright."""
    if (jpeg.process, jpeg.bits) not in _LEGAL_PROCESSES or jpeg.orientation != 1:
        return False
    if jpeg.several_pictures:
        return False
    if len(jpeg.component_ids) == 1:
        return True
    # RGB is marked by Adobe's transform 0, or by the names of the components.
    ybr = jpeg.adobe_transform == 1 or (
        jpeg.adobe_transform is None and jpeg.component_ids == _YBR_IDS
    )
    return len(jpeg.component_ids) == 3 and jpeg.bits == 8 and ybr


def _unchanged(jpeg: JpegStructure, stream: bytes) -> _Pixels:
    samples = len(jpeg.component_ids)
    colours = "YBR_FULL_422" if jpeg.subsampled else "YBR_FULL"
    return _Pixels(
        rows=jpeg.rows,
        columns=jpeg.columns,
        samples=samples,
        bits=jpeg.bits,
        photometric_interpretation="MONOCHROME2" if samples == 1 else colours,
        data=encapsulate([stream]),
        transfer_syntax_uid=_LEGAL_PROCESSES[jpeg.process, jpeg.bits],
        lossy_ratio=jpeg.rows * jpeg.columns * samples * jpeg.bits / 8 / len(stream),
    )


def _secondary_capture(pixels: _Pixels) -> Dataset:
    """Fill the modules of PS3.3 table A.8-1, without dates or random values."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.SecondaryCaptureDeviceManufacturer = "ChestX"
    for keyword in (
        *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *("SeriesNumber", "PatientOrientation"),
    ):
        setattr(dataset, keyword, "")
    dataset.InstanceNumber = 1
    dataset.SamplesPerPixel = pixels.samples
    dataset.PhotometricInterpretation = pixels.photometric_interpretation
    if pixels.samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.rows, pixels.columns
    dataset.BitsAllocated = 8 if pixels.bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = pixels.bits, pixels.bits - 1
    dataset.PixelRepresentation = 0
    if pixels.samples == 1:
        # The window that shows the lowest value black and the highest white (PS3.3
        # C.11.2.1.2.1): the whole range, or the part that a deep picture uses.
        low, high = pixels.shown_range or (0, (1 << pixels.bits) - 1)
        centre, odd = divmod(low + high + 1, 2)
        dataset.WindowCenter = f"{centre}.5" if odd else centre
        dataset.WindowWidth = high - low + 1
    dataset.LossyImageCompression = "00" if pixels.lossy_ratio is None else "01"
    if pixels.lossy_ratio is not None:
        dataset.LossyImageCompressionRatio = f"{pixels.lossy_ratio:.4g}"
        dataset.LossyImageCompressionMethod = _JPEG_METHOD
    dataset.add_new("PixelData", "OB" if pixels.bits == 8 else "OW", pixels.data)
    if pixels.transfer_syntax_uid.is_encapsulated:
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    return dataset


def _write(dataset: Dataset, transfer_syntax_uid: UID) -> IO[bytes]:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    dataset.file_meta = meta
    memory = io.BytesIO()
    dcmwrite(memory, dataset, enforce_file_format=True)
    if memory.tell() > settings.MAX_FILE_BYTES:
        raise TooLarge(
            messages.FILE_TOO_LARGE,
            params={"limit_mb": settings.MAX_FILE_BYTES // (1024 * 1024)},
        )
    out = new_temporary_file()
    out.write(memory.getbuffer())
    out.flush()
    out.seek(0)
    return out


def _check_identifier(text: str) -> None:
    """Refuse an identifier that a header cannot hold (LO, PS3.5 6.2)."""
    if len(text) > LONGEST_IDENTIFIER or "\\" in text or not text.isprintable():
        raise InvalidInput(
            messages.UNWRITABLE_IDENTIFIER, params={"limit": LONGEST_IDENTIFIER}
        )


def _file_digest(file: IO[bytes], names: Iterable[bytes]) -> bytes:
    """Hash the file and the names, each after its length, so that none can shift."""
    digest = hashlib.sha256(struct.pack(">Q", file.seek(0, io.SEEK_END)))
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    for name in names:
        digest.update(struct.pack(">Q", len(name)) + name)
    return digest.digest()


def _uid_from(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(struct.pack(">Q", len(part)) + part)
    return _uid_of(digest.digest())


def _uid_of(digest: bytes) -> str:
    """Return 2.25.<a UUID as decimal> (PS3.5 B.2), the UUID of version 8 (RFC 9562)."""
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    return f"2.25.{uuid.UUID(int=number).int}"
