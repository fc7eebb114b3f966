"""Pixels that `ml` cannot read, as refusals with a message that can be stored."""

from accounts.errors import InvalidInput
from ml.pixels import MAX_PIXELS_PER_FRAME
from patients import messages

_MESSAGES = {
    "no_pixels": messages.NO_PIXELS,
    "too_many_pixels": messages.TOO_MANY_PIXELS,
    "unreadable_pixels": messages.UNREADABLE_PIXELS,
    "unsupported_transfer_syntax": messages.UNSUPPORTED_TRANSFER_SYNTAX,
}


def pixel_refusal(reason_code: str) -> InvalidInput:
    """Return the refusal of a file by the reason code of an `ml.errors.ImageError`."""
    message = _MESSAGES.get(reason_code, messages.UNREADABLE_PIXELS)
    if message is messages.TOO_MANY_PIXELS:
        return InvalidInput(message, params={"limit": MAX_PIXELS_PER_FRAME // 10**6})
    return InvalidInput(message)
