"""Why a file is refused, in conflict or a duplicate: sentences stored as codes.

A row keeps the code of a message and its parameters; the sentence is translated when
it is shown. DICOM names, numbers and file formats are parameters and stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext_lazy as _

from accounts.messages import Message, reason_text

# What kind of file it is.
EMPTY_FILE = Message("empty_file", _("The file is empty."))
NOT_AN_IMAGE = Message(
    "not_an_image",
    _("The file is not a DICOM, PNG, JPEG, TIFF or BMP image, whatever its name."),
)
ARCHIVE = Message(
    "not_an_image.archive",
    _(
        "The file is an archive (%(format)s). Unpack it, and send or import the files "
        "in it."
    ),
    "not_an_image",
)
NOT_DICOM = Message("not_dicom", _("The file is not a DICOM file."))
NO_TRANSFER_SYNTAX = Message(
    "not_dicom.no_transfer_syntax",
    _("The file does not state its transfer syntax, so it is not a DICOM file."),
    "not_dicom",
)

# Sizes.
FILE_TOO_LARGE = Message(
    "file_too_large", _("The file is larger than %(limit_mb)d MB.")
)
REQUEST_TOO_LARGE = Message(
    "request_too_large",
    _(
        "The request is larger than %(limit_mb)d MB. Send the files in several "
        "requests."
    ),
)
QUOTA_TOO_SMALL = Message(
    "quota_too_small",
    _(
        "At most %(limit_mb)d MB may be received at once. Send the files in several "
        "requests."
    ),
)
INFLATED_TOO_LARGE = Message(
    "too_large.inflated",
    _("The compressed header unpacks to more than %(limit_mb)d MB."),
    "too_large",
)

TOO_MANY_FILES = Message(
    "too_many_files",
    _("At most %(limit)d files per request. Send several requests."),
)
FIELDS_TOO_LARGE = Message(
    "too_large.fields",
    _(
        "The form fields are too large. A file needs a file name, else it is taken "
        "for a field."
    ),
    "too_large",
)

# Requests that are not taken; none of their files is stored.
NO_LENGTH = Message(
    "length_required", _("Send the request with a Content-Length, not in chunks.")
)
INCOMPLETE_REQUEST = Message(
    "incomplete_request",
    _(
        "The request ends before its closing boundary, so a file may be missing. "
        "Nothing was stored. Send all its files again."
    ),
)
MALFORMED_REQUEST = Message(
    "malformed_request",
    _(
        "The request is not valid multipart/form-data: %(detail)s. Nothing was stored. "
        "Correct the program that sends it."
    ),
)
UNEXPECTED_FILE = Message(
    "unexpected_file", _("Send files to the upload page or to POST /api/v1/uploads/.")
)
NAMELESS_PART = Message(
    "malformed_request.nameless_part",
    _(
        "A part of the request has no name. Name each file 'file', and each field as "
        "the documentation does. Nothing was stored."
    ),
    "malformed_request",
)
NOT_UTF8 = Message("invalid_fields.not_utf8", _("The text is not valid UTF-8."))
FIELDS_NOT_UTF8 = Message(
    "invalid_fields.encoding",
    _(
        "These fields are not valid UTF-8: %(fields)s. Nothing was stored. Send them "
        "in UTF-8."
    ),
    "invalid_fields",
)

# Faults of ChestX itself.
INTERNAL_ERROR = Message(
    "internal_error",
    _(
        "An internal error occurred, and the file was not stored. Give your "
        "administrator the number %(error_id)s: the log has it."
    ),
)

# Files that end too early.
TRUNCATED = Message(
    "truncated_file",
    _("The file ends too early: a part is missing. Send it again from its source."),
)
TRUNCATED_FILE_META = Message(
    "truncated_file.file_meta",
    _("The file ends inside its file meta information. Send it again from its source."),
    "truncated_file",
)
TRUNCATED_NO_DATASET = Message(
    "truncated_file.no_dataset",
    _("The file ends after its file meta information. Send it again from its source."),
    "truncated_file",
)
TRUNCATED_DEFLATED = Message(
    "truncated_file.deflated",
    _("The deflated dataset is incomplete. Send the file again from its source."),
    "truncated_file",
)
TRUNCATED_PIXELS = Message(
    "truncated_file.pixels",
    _(
        "The file has fewer pixels than its header states. Send it again from its "
        "source."
    ),
    "truncated_file",
)
TRUNCATED_NO_FRAGMENTS = Message(
    "truncated_file.no_fragments",
    _("The compressed pixels are missing. Send the file again from its source."),
    "truncated_file",
)
TRUNCATED_FRAMES = Message(
    "truncated_file.frames",
    _(
        "The file has fewer frames than its header states. Send it again from its "
        "source."
    ),
    "truncated_file",
)
TRUNCATED_LAST_FRAME = Message(
    "truncated_file.last_frame",
    _(
        "The last compressed frame has no end marker. Send the file again from its "
        "source."
    ),
    "truncated_file",
)
TRUNCATED_PICTURE_HEADER = Message(
    "truncated_file.picture_header",
    _("The file ends inside its %(format)s header. Send it again from its source."),
    "truncated_file",
)
TRUNCATED_PICTURE_PART = Message(
    "truncated_file.picture_part",
    _(
        "The file ends inside a part of the %(format)s image. Send it again from its "
        "source."
    ),
    "truncated_file",
)
TRUNCATED_PICTURE_END = Message(
    "truncated_file.picture_end",
    _("The %(format)s image has no end marker. Send the file again from its source."),
    "truncated_file",
)
TRUNCATED_PICTURE_DATA = Message(
    "truncated_file.picture_data",
    _(
        "A part of the %(format)s image lies beyond the end of the file. Send it again "
        "from its source."
    ),
    "truncated_file",
)

# Files whose parts contradict each other.
DAMAGED_LENGTH = Message(
    "damaged_file.length",
    _("The file is damaged: an element is longer than what contains it."),
    "damaged_file",
)
DAMAGED_SEQUENCE = Message(
    "damaged_file.sequence",
    _("The file is damaged: a sequence contains something other than items."),
    "damaged_file",
)
DAMAGED_ITEM_END = Message(
    "damaged_file.item_end",
    _("The file is damaged: an item ends where none began."),
    "damaged_file",
)
DAMAGED_DELIMITER = Message(
    "damaged_file.delimiter",
    _("The file is damaged: a delimiter is in the wrong place."),
    "damaged_file",
)
DAMAGED_FRAGMENTS = Message(
    "damaged_file.fragments",
    _("The file is damaged: the compressed pixels are not in fragments."),
    "damaged_file",
)
DAMAGED_FRAME_COUNT = Message(
    "damaged_file.frame_count",
    _("The file is damaged: its number of frames is not a number."),
    "damaged_file",
)
DAMAGED_DEFLATED = Message(
    "damaged_file.deflated",
    _("The file is damaged: its deflated dataset cannot be unpacked."),
    "damaged_file",
)
DAMAGED_CHECKSUM = Message(
    "damaged_file.checksum",
    _("The file is damaged: a part of the %(format)s image has a wrong checksum."),
    "damaged_file",
)
DAMAGED_TOO_MANY_PARTS = Message(
    "damaged_file.too_many_parts",
    _("The file is damaged: the %(format)s image has too many parts."),
    "damaged_file",
)
DAMAGED_NO_PICTURE = Message(
    "damaged_file.no_picture",
    _("The file is damaged: the %(format)s file contains no image."),
    "damaged_file",
)
DAMAGED_SEGMENT = Message(
    "damaged_file.segment",
    _("The file is damaged: a segment of the %(format)s image has no length."),
    "damaged_file",
)
DAMAGED_NO_SIZE = Message(
    "damaged_file.no_size",
    _("The file is damaged: the %(format)s image does not state its size."),
    "damaged_file",
)
DAMAGED_DIRECTORIES = Message(
    "damaged_file.directories",
    _("The file is damaged: the directories of the %(format)s image form a loop."),
    "damaged_file",
)
DAMAGED_NO_PAGE_DATA = Message(
    "damaged_file.no_page_data",
    _("The file is damaged: a page of the %(format)s image has no image data."),
    "damaged_file",
)
DAMAGED_PAGE_LENGTHS = Message(
    "damaged_file.page_lengths",
    _(
        "The file is damaged: a page of the %(format)s image does not state how long "
        "its parts are."
    ),
    "damaged_file",
)

# The header.
TOO_MANY_ELEMENTS = Message(
    "invalid_header.too_many_elements",
    _("The header has more than %(limit)d elements."),
    "invalid_header",
)
TOO_DEEP = Message(
    "invalid_header.too_deep",
    _("The sequences of the header are nested more than %(limit)d levels deep."),
    "invalid_header",
)
MISSING_UIDS = Message(
    "missing_uids", _("The header does not contain: %(attributes)s.")
)
INVALID_UID = Message(
    "invalid_header.uid",
    _("The %(attribute)s in the header is not a valid UID."),
    "invalid_header",
)
UNSUPPORTED_SOP_CLASS = Message(
    "unsupported_sop_class",
    _("The file is a DICOM object of a kind that is not archived."),
)
IMPOSSIBLE_IMAGE = Message(
    "invalid_header.impossible_image",
    _("The header describes an impossible image: check frames and bits stored."),
    "invalid_header",
)
LONG_IDENTIFIER = Message(
    "invalid_header.long_identifier",
    _("%(attribute)s in the header is longer than %(limit)d characters."),
    "invalid_header",
)
REPEATED_ATTRIBUTE = Message(
    "invalid_header.repeated",
    _(
        "The header has more than one value for: %(attributes)s. Correct the file "
        "where it was made, and send it again."
    ),
    "invalid_header",
)
SEVERAL_IDENTIFIERS = Message(
    "invalid_header.several_identifiers",
    _(
        "%(attribute)s in the header has several values. Correct the file where it "
        "was made, and send it again."
    ),
    "invalid_header",
)
UNREADABLE_IDENTIFIER = Message(
    "invalid_header.unreadable_identifier",
    _(
        "%(attribute)s in the header has characters that its character set does not "
        "define. Correct Specific Character Set where the file was made, and send it "
        "again."
    ),
    "invalid_header",
)
UNWRITABLE_HEADER = Message(
    "unwritable_header",
    _(
        "The header of this object cannot be written with the corrected patient. The "
        "object is stored unchanged."
    ),
)
UNSTORABLE_HEADER = Message(
    "invalid_header.unstorable",
    _("The header contains a value that cannot be stored."),
    "invalid_header",
)
UNWRITABLE_IDENTIFIER = Message(
    "invalid_header.unwritable_identifier",
    _(
        "An identifier is longer than %(limit)d characters, or contains a backslash "
        "or a control character."
    ),
    "invalid_header",
)

# The pixels.
NO_PIXELS = Message("no_pixels", _("The image has no pixels, no rows or no columns."))
TOO_MANY_PIXELS = Message(
    "too_many_pixels",
    _("The image has more than %(limit)d million pixels."),
)
INVALID_ATTRIBUTE = Message(
    "invalid_attribute",
    _(
        "The header has a value of %(attribute)s that has no single meaning, so the "
        "image is not shown. Correct it on the device that made it."
    ),
)
INVALID_LOOKUP_TABLE = Message(
    "invalid_lookup_table",
    _("A lookup table of the image is incomplete or contradicts itself."),
)
SEVERAL_IMAGES = Message(
    "several_images",
    _("The file holds %(count)d images. Send each of them as a file of its own."),
)
UNREADABLE_PIXELS = Message(
    "unreadable_pixels",
    _("The image cannot be decoded. The file may be damaged."),
)
UNSUPPORTED_TRANSFER_SYNTAX = Message(
    "unsupported_transfer_syntax",
    _("The compression of the image (its transfer syntax) is not supported."),
)
DECODING_TOO_SLOW = Message(
    "decoder_killed.too_slow",
    _("Decoding the image takes longer than %(limit_s)g s."),
    "decoder_killed",
)
DECODING_TOO_LARGE = Message(
    "decoder_killed.too_large",
    _("Decoding the image takes too much memory."),
    "decoder_killed",
)
DECODER_CRASHED = Message(
    "decoder_killed.crashed",
    _("The decoder crashes on this image. The file may be damaged."),
    "decoder_killed",
)

# What a form or manifest says about the patient.
INVALID_FIELDS = Message("invalid_claims", "%(problems)s")
FIELD_PROBLEM = Message(
    "invalid_claims.field", _("%(field)s: %(problem)s"), "invalid_claims"
)
FIELD_TOO_LONG = Message(
    "invalid_claims.too_long",
    _("Use at most %(limit)d characters."),
    "invalid_claims",
)
FIELD_CHARACTERS = Message(
    "invalid_claims.characters",
    _("Remove backslashes and control characters."),
    "invalid_claims",
)
NOT_A_DATE = Message(
    "invalid_claims.not_a_date",
    _("Enter a date like 1970-12-31."),
    "invalid_claims",
)
IMPLAUSIBLE_BIRTH_DATE = Message(
    "invalid_claims.birth_date",
    _("Enter a date of birth between %(year)d and today."),
    "invalid_claims",
)
UNKNOWN_SEX = Message(
    "invalid_claims.sex", _("Enter one of M, F, O."), "invalid_claims"
)
UNKNOWN_PRIORITY = Message(
    "invalid_claims.priority",
    _("Enter one of routine, urgent, stat."),
    "invalid_claims",
)
DIFFERS_FROM_HEADER = Message(
    "identity_mismatch.header",
    _(
        "The form and the header of the file disagree: %(fields)s. Nothing was stored. "
        "Check which patient the image belongs to, correct or clear these fields, and "
        "send the file again."
    ),
    "identity_mismatch",
)
DIFFERS_FROM_RECORD = Message(
    "identity_mismatch.record",
    _(
        "This image is already stored, and the form and the record disagree: "
        "%(fields)s. Nothing was stored. Check which patient the image belongs to, "
        "correct or clear these fields, and send the file again."
    ),
    "identity_mismatch",
)
DIFFERS_FROM_PATIENT = Message(
    "identity_mismatch.patient",
    _(
        "The form and the record of this patient disagree: %(fields)s. Nothing was "
        "stored. Check the patient ID, correct or clear these fields, and send the "
        "file again."
    ),
    "identity_mismatch",
)

# Files that contradict the record.
OTHER_HEADER = Message(
    "conflict_header",
    _(
        "An image with the same SOP Instance UID but a different header is already "
        "stored."
    ),
)
OTHER_PIXELS = Message(
    "conflict_pixels",
    _("An image with the same SOP Instance UID but other pixels is already stored."),
)
STUDY_OF_OTHER_PATIENT = Message(
    "conflict_patient.study",
    _("The study of this image is already stored under another patient."),
    "conflict_patient",
)
SERIES_OF_OTHER_PATIENT = Message(
    "conflict_patient.series",
    _("The series of this image is already stored under another patient."),
    "conflict_patient",
)
STUDY_OF_OTHER_DEPARTMENT = Message(
    "conflict_study.department",
    _("The study of this image is already stored in another department."),
    "conflict_study",
)
SERIES_OF_OTHER_STUDY = Message(
    "conflict_study",
    _("The series of this image is already stored under another study."),
)
ACCESSION_OF_OTHER_PATIENT = Message(
    "conflict_accession",
    _("A study of another patient has this accession number."),
)

# Duplicates with a note.
LOSSY_REENCODED = Message(
    "lossy_reencoded",
    _("This is the stored image, compressed again with loss. The stored copy is kept."),
)

_ALL = [value for value in list(globals().values()) if isinstance(value, Message)]
MESSAGES: dict[str, Message] = {message.code: message for message in _ALL}

FIELD_LABELS = {
    "patient_id": _("Patient ID"),
    "issuer": _("Issuer"),
    "patient_name": _("Patient name"),
    "birth_date": _("Date of birth"),
    "sex": _("Sex"),
    "accession_number": _("Accession number"),
    "priority": _("Priority"),
}


class FieldNames(list[str]):
    """Names of form fields as a parameter: stored as names, shown as labels."""

    def __str__(self) -> str:
        return ", ".join(field_label(name) for name in self)


class FieldProblems(list[dict[str, Any]]):
    """Problems of form fields as a parameter: stored as codes, shown as sentences.

    Each is `{"field": …, "code": …, "params": …}`.
    """

    def __str__(self) -> str:
        return " ".join(
            FIELD_PROBLEM.format(
                {
                    "field": field_label(problem["field"]),
                    "problem": reason_text(
                        MESSAGES, problem["code"], readable_params(problem["params"])
                    ),
                }
            )
            for problem in self
        )


def field_label(name: str) -> str:
    """Return the label of a form field, or its name if it has none."""
    return str(FIELD_LABELS.get(name, name))


def readable_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Turn stored lists back into what they were when the error was raised."""
    return {name: _readable(value) for name, value in params.items()}


def _readable(value: Any) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    if all(isinstance(entry, str) for entry in value):
        return FieldNames(value)
    return FieldProblems(value)
