"""The sentences about predictions that are stored as a code and its parameters.

A rejected or failed prediction keeps the code of a sentence and its parameters; the
sentence is written in the language of the reader when it is shown. `ml` knows no
gettext: `message_for` finds the sentence for the reason code that it raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from accounts.errors import ChestXError
from accounts.messages import Message
from ml.errors import MlError
from patients.identity.submitted import storable

# Rejections by the header (`ml.gate.header`, `diagnoses.eligibility`).
NO_MODEL = Message(
    "prediction.no_model",
    _("No model is active. The image is stored and not scored."),
    "no_model",
)
MULTI_FRAME = Message(
    "prediction.multi_frame",
    _("The object has %(frames)s frames; the model reads single images."),
    "multi_frame",
)
MULTI_FRAME_UNCOUNTED = Message(
    "prediction.multi_frame.uncounted",
    _("The object has several frames; the model reads single images."),
    "multi_frame",
)
COLOUR_IMAGE = Message(
    "prediction.colour_image",
    _("The image is in colour; the model reads greyscale images."),
    "colour_image",
)
WRONG_AGE = Message(
    "prediction.wrong_age",
    _(
        "The patient was %(age_years)s years old; the model reads images of patients "
        "aged %(youngest)s to %(oldest)s years."
    ),
    "wrong_age",
)
WRONG_AGE_OF_FINDINGS = Message(
    "prediction.wrong_age.of_findings",
    _(
        "The patient was %(age_years)s years old; the findings of the model were "
        "measured at these ages: %(ages)s years."
    ),
    "wrong_age",
)
WRONG_AGE_UNNAMED = Message(
    "prediction.wrong_age.unnamed",
    _("The model does not read images of patients of this age."),
    "wrong_age",
)
WRONG_MODALITY = Message(
    "prediction.wrong_modality",
    _("The modality is %(modality)s; the model reads %(modalities)s."),
    "wrong_modality",
)
WRONG_MODALITY_NOT_GIVEN = Message(
    "prediction.wrong_modality.not_given",
    _("The modality is not given; the model reads %(modalities)s."),
    "wrong_modality",
)
WRONG_MODALITY_UNNAMED = Message(
    "prediction.wrong_modality.unnamed",
    _("The model does not read images of this modality."),
    "wrong_modality",
)
WRONG_SPECIES = Message(
    "prediction.wrong_species",
    _("The patient is an animal (%(species)s); the model reads images of people."),
    "wrong_species",
)
WRONG_BODY_PART = Message(
    "prediction.wrong_body_part",
    _("The body part is %(body_part)s; the model reads %(body_parts)s."),
    "wrong_body_part",
)
WRONG_BODY_PART_DESCRIBED = Message(
    "prediction.wrong_body_part.described",
    _("The description names another body part; the model reads %(body_parts)s."),
    "wrong_body_part",
)
WRONG_BODY_PART_UNNAMED = Message(
    "prediction.wrong_body_part.unnamed",
    _("The model does not read images of this body part."),
    "wrong_body_part",
)
LATERAL_VIEW = Message(
    "prediction.lateral_view",
    _("The view is lateral; the model reads these views: %(views)s."),
    "lateral_view",
)
LATERAL_VIEW_UNNAMED = Message(
    "prediction.lateral_view.unnamed",
    _("The view is lateral; the model reads frontal views."),
    "lateral_view",
)

# Rejections by the pixels (`ml.gate.header`, `ml.gate.out_of_distribution`).
BLANK_IMAGE = Message(
    "prediction.blank_image",
    _("The image is blank: it has almost no contrast."),
    "blank_image",
)
UNLIKE_TRAINING_IMAGES = Message(
    "prediction.unlike_training_images",
    _("The image is unlike the images that the model was trained on."),
    "unlike_training_images",
)
INVERTED = Message(
    "prediction.inverted",
    _(
        "The image looks inverted: white where it should be black. Check its "
        "photometric interpretation."
    ),
    "inverted",
)
ROTATED = Message(
    "prediction.rotated",
    _("The image looks rotated. Rotate it upright and send it again."),
    "rotated",
)
CROPPED = Message(
    "prediction.cropped",
    _("The image looks cropped: a part that the model needs is missing."),
    "cropped",
)

# Pixels that cannot be read (`ml.pixels`, `ml.images`).
NO_PIXELS = Message(
    "prediction.no_pixels",
    _("The object has no pixels that a model can read."),
    "no_pixels",
)
INVALID_ATTRIBUTE = Message(
    "prediction.invalid_attribute",
    _(
        "The header has a value of %(attribute)s that has no single meaning, so no "
        "model reads the image."
    ),
    "invalid_attribute",
)
INVALID_LOOKUP_TABLE = Message(
    "prediction.invalid_lookup_table",
    _("A lookup table of the image is incomplete or contradicts itself."),
    "invalid_lookup_table",
)
SEVERAL_IMAGES = Message(
    "prediction.several_images",
    _("The file holds several images."),
    "several_images",
)
UNREADABLE_PIXELS = Message(
    "prediction.unreadable_pixels",
    _("The pixels cannot be decoded; the file may be damaged."),
    "unreadable_pixels",
)
TOO_MANY_PIXELS = Message(
    "prediction.too_many_pixels",
    _("The image has more pixels than a model can read."),
    "too_many_pixels",
)
UNSUPPORTED_TRANSFER_SYNTAX = Message(
    "prediction.unsupported_transfer_syntax",
    _("The transfer syntax of the image is not supported."),
    "unsupported_transfer_syntax",
)

# Faults of the archive and of the workers.
OBJECT_MISSING = Message(
    "prediction.object_missing",
    _("The stored file is missing. Tell your ChestX administrator."),
    "object_missing",
)
OBJECT_DAMAGED = Message(
    "prediction.object_damaged",
    _("The stored file is damaged: its SHA-256 is not the one that it came with."),
    "object_damaged",
)
STORAGE_UNAVAILABLE = Message(
    "prediction.storage_unavailable",
    _("The stored file could not be read for a long time."),
    "storage_unavailable",
)
WORKER_LOST = Message(
    "prediction.worker_lost",
    _(
        "%(workers)s workers were lost while they read this image. The image may be "
        "the cause. Run it again, or tell your ChestX administrator."
    ),
    "worker_lost",
)
INTERNAL_ERROR = Message(
    "prediction.internal_error",
    _("An unexpected error occurred. The log has the details."),
    "internal_error",
)

# Models that cannot be used (`ml.inference`, `ml.ensemble`, `ml.networks`).
MODEL_UNUSABLE = Message(
    "prediction.model_unusable",
    _("The model cannot be run. The log has the details."),
    "model_unusable",
)
NO_WEIGHTS = Message(
    "prediction.no_weights",
    _("The model has no weights, so it cannot be run."),
    "no_weights",
)
WEIGHTS_MISSING = Message(
    "prediction.weights_missing",
    _("The weights of the model are missing. Tell your ChestX administrator."),
    "weights_missing",
)
WEIGHTS_DIFFER = Message(
    "prediction.weights_differ",
    _(
        "The weights of the model are not those of its card. Tell your ChestX "
        "administrator."
    ),
    "weights_differ",
)
WEIGHTS_REFUSED = Message(
    "prediction.weights_refused",
    _("The weights of the model may not be loaded. Tell your ChestX administrator."),
    "weights_refused",
)
GATE_MISSING = Message(
    "prediction.gate_missing",
    _("The gate file of the model is missing. Tell your ChestX administrator."),
    "gate_missing",
)
GATE_DIFFERS = Message(
    "prediction.gate_differs",
    _(
        "The gate file of the model does not match its card. Tell your ChestX "
        "administrator."
    ),
    "gate_differs",
)
MEMBER_MISSING = Message(
    "prediction.member_missing",
    _("A member of the ensemble is not installed. Tell your ChestX administrator."),
    "member_missing",
)
MEMBER_DIFFERS = Message(
    "prediction.member_differs",
    _(
        "A member of the ensemble is not the one that its card names. Tell your "
        "ChestX administrator."
    ),
    "member_differs",
)
EXPORT_FAILED = Message(
    "prediction.export_failed",
    _("The model could not be converted for this machine. The log has the details."),
    "export_failed",
)

# A wrong value of one field; the caller has translated the problem. Not stored.
FIELD_PROBLEM = _("%(field)s: %(problem)s")

# Of several sentences for one reason code, the most detailed comes first.
MESSAGES: dict[str, Message] = {
    message.code: message
    for message in (
        NO_MODEL,
        MULTI_FRAME,
        MULTI_FRAME_UNCOUNTED,
        COLOUR_IMAGE,
        WRONG_AGE,
        WRONG_AGE_OF_FINDINGS,
        WRONG_AGE_UNNAMED,
        WRONG_MODALITY,
        WRONG_MODALITY_NOT_GIVEN,
        WRONG_MODALITY_UNNAMED,
        WRONG_SPECIES,
        WRONG_BODY_PART,
        WRONG_BODY_PART_DESCRIBED,
        WRONG_BODY_PART_UNNAMED,
        LATERAL_VIEW,
        LATERAL_VIEW_UNNAMED,
        BLANK_IMAGE,
        UNLIKE_TRAINING_IMAGES,
        INVERTED,
        ROTATED,
        CROPPED,
        NO_PIXELS,
        INVALID_ATTRIBUTE,
        INVALID_LOOKUP_TABLE,
        SEVERAL_IMAGES,
        UNREADABLE_PIXELS,
        TOO_MANY_PIXELS,
        UNSUPPORTED_TRANSFER_SYNTAX,
        OBJECT_MISSING,
        OBJECT_DAMAGED,
        STORAGE_UNAVAILABLE,
        WORKER_LOST,
        INTERNAL_ERROR,
        MODEL_UNUSABLE,
        NO_WEIGHTS,
        WEIGHTS_MISSING,
        WEIGHTS_DIFFER,
        WEIGHTS_REFUSED,
        GATE_MISSING,
        GATE_DIFFERS,
        MEMBER_MISSING,
        MEMBER_DIFFERS,
        EXPORT_FAILED,
    )
}

# Reason codes in rows of former versions, and their present names.
FORMER_REASON_CODES = {"unlike_training_films": "unlike_training_images"}

# Why an image has no score, in two or three words for lists.
REASON_WORDS: dict[str, Promise] = {
    "wrong_species": _("Animal"),
    "wrong_body_part": _("Other body part"),
    "wrong_modality": _("Other modality"),
    "lateral_view": _("Lateral view"),
    "colour_image": _("Colour image"),
    "blank_image": _("Blank image"),
    "multi_frame": _("Several frames"),
    "wrong_age": _("Age out of range"),
    "unlike_training_images": _("Unlike the training images"),
    "inverted": _("Inverted"),
    "rotated": _("Rotated"),
    "cropped": _("Cropped"),
    "no_model": _("No suitable model"),
    "no_pixels": _("No pixels"),
    "invalid_attribute": _("Header unclear"),
    "invalid_lookup_table": _("Lookup table unclear"),
}
# Why a label has no score, by the codes of `ml.cards.ages`.
NOT_SCORED_WORDS = {
    "not_measured_in_adults": _("not measured in adults"),
    "not_measured_in_children": _("not measured in children"),
    "not_measured_at_this_age": _("not measured at this age"),
}

REASON_WORDS |= {old: REASON_WORDS[new] for old, new in FORMER_REASON_CODES.items()}

_PLACEHOLDER = re.compile(r"%\((\w+)\)")


def error_text(error: MlError | ChestXError) -> str:
    """Return the sentence of an error in the language of the reader."""
    if isinstance(error, ChestXError):
        return error.message
    text = gettext(error.text)
    return text % error.params if error.params else text


def one_of(names: Iterable[str]) -> str:
    """Return "One of: a, b." in the language of the reader."""
    return gettext("One of: %(names)s.") % {"names": ", ".join(names) or "–"}


def message_for(reason_code: str, params: Mapping[str, object]) -> Message:
    """Return the most detailed sentence that the parameters can fill.

    Args:
        reason_code: Why a prediction was rejected or failed.
        params: Values for placeholders; more than the sentence has do no harm.

    Returns:
        A message of this reason code; MODEL_UNUSABLE where there is none.
    """
    present = FORMER_REASON_CODES.get(reason_code, reason_code)
    for message in MESSAGES.values():
        if message.reason_code == present and placeholders(message) <= set(params):
            return message
    return MODEL_UNUSABLE


def placeholders(message: Message) -> set[str]:
    """Return the names of a message's placeholders."""
    with override(None):
        return set(_PLACEHOLDER.findall(str(message.text)))


def stored_reason(
    reason_code: str, params: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return the columns of a prediction that say why it was rejected or failed.

    Args:
        reason_code: What happened, for programs.
        params: Values for placeholders; those that the sentence has are kept.
    """
    values = params or {}
    message = message_for(reason_code, values)
    return {
        "reason_code": reason_code,
        "reason_message": message.code,
        "reason_params": {
            name: _storable_value(values[name]) for name in placeholders(message)
        },
    }


def _storable_value(value: object) -> object:
    return value if isinstance(value, int | float) else storable(str(value))
