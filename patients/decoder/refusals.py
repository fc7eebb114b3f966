"""What the decoder cannot read, as refusals with a message that can be stored."""

from collections.abc import Mapping

from accounts.errors import InvalidInput
from ml.pixels import MAX_PIXELS_PER_FRAME
from patients import messages

_MESSAGES = {
    "damaged_deflated": messages.DAMAGED_DEFLATED,
    "inflated_too_large": messages.INFLATED_TOO_LARGE,
    "invalid_attribute": messages.INVALID_ATTRIBUTE,
    "invalid_lookup_table": messages.INVALID_LOOKUP_TABLE,
    "no_pixels": messages.NO_PIXELS,
    "several_images": messages.SEVERAL_IMAGES,
    "too_many_pixels": messages.TOO_MANY_PIXELS,
    "truncated_deflated": messages.TRUNCATED_DEFLATED,
    "unreadable_pixels": messages.UNREADABLE_PIXELS,
    "unsupported_transfer_syntax": messages.UNSUPPORTED_TRANSFER_SYNTAX,
}

_WITH_PARAMETERS = (
    messages.INFLATED_TOO_LARGE,
    messages.INVALID_ATTRIBUTE,
    messages.SEVERAL_IMAGES,
)


def pixel_refusal(reason_code: str, params: Mapping[str, object]) -> InvalidInput:
    """Return the refusal of a file by reason code and values of an `ImageError`."""
    message = _MESSAGES.get(reason_code, messages.UNREADABLE_PIXELS)
    if message is messages.TOO_MANY_PIXELS:
        return InvalidInput(message, params={"limit": MAX_PIXELS_PER_FRAME // 10**6})
    if message in _WITH_PARAMETERS:
        return InvalidInput(message, params=params)
    return InvalidInput(message)
