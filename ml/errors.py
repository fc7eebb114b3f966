"""Errors of the model library. Imports nothing of ours, so that all may catch them.

They carry the same attributes as the errors of the application: a machine-readable
`reason_code`, a sentence that a user can act on, whether that sentence may be shown
and whether trying again is pointless.
"""

from __future__ import annotations


class MlError(Exception):
    """Say why an image could not be read or scored.

    Args:
        message: A sentence that a user can act on.
        reason_code: What happened, for programs.
        shown: Whether the sentence may be shown to a user.
        permanent: Whether another try would end the same way.
    """

    default_reason_code = "ml_error"

    def __init__(
        self,
        message: str,
        *,
        reason_code: str = "",
        shown: bool = True,
        permanent: bool = True,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason_code = reason_code or self.default_reason_code
        self.shown = shown
        self.permanent = permanent

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between processes with every attribute."""
        return (
            _rebuild,
            (type(self), self.message, self.reason_code, self.shown, self.permanent),
        )


class ImageError(MlError):
    """The pixels cannot be read.

    reason_code: unreadable_pixels, too_many_pixels, no_pixels or
    unsupported_transfer_syntax.
    """

    default_reason_code = "unreadable_pixels"


class ImageRejected(MlError):  # noqa: N818 - an outcome, not a fault
    """The image may not be scored by this model.

    reason_code: wrong_modality, wrong_body_part, lateral_view, colour_image,
    blank_image, multi_frame, wrong_age, unlike_training_images, inverted, rotated,
    cropped or no_model.
    """

    default_reason_code = "no_model"


class ModelError(MlError):
    """The card, its weights or their hash are not what they should be."""

    default_reason_code = "model_unusable"


class TrainingError(MlError):
    """A manifest, a recipe or a run folder does not allow training."""

    default_reason_code = "training_refused"


def _rebuild(
    kind: type[MlError], message: str, reason_code: str, shown: bool, permanent: bool
) -> MlError:
    return kind(message, reason_code=reason_code, shown=shown, permanent=permanent)
