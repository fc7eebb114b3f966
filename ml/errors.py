"""Errors of the model library. Imports nothing of the project.

They have the same attributes as the errors of the application: a machine-readable
`reason_code`, a sentence that a user can act on, whether that sentence may be shown
and whether another attempt is pointless.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class MlError(Exception):
    """Base class: an image cannot be read or scored, or a model cannot be used.

    This library does not use gettext. Code that shows an error to people translates
    `text`, or looks up a translation by the reason code.

    Args:
        text: An English sentence that a user can act on, with named placeholders. It
            must be a literal: makemessages finds it by the name of the class.
        params: Values of the placeholders; str, int or float.
        reason_code: What happened, for programs.
        shown: Whether the sentence may be shown to a user.
        permanent: Whether another attempt would fail in the same way.
    """

    default_reason_code = "ml_error"

    def __init__(
        self,
        text: str,
        *,
        params: Mapping[str, object] | None = None,
        reason_code: str = "",
        shown: bool = True,
        permanent: bool = True,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.params = dict(params or {})
        self.reason_code = reason_code or self.default_reason_code
        self.shown = shown
        self.permanent = permanent

    @property
    def message(self) -> str:
        """The sentence in English."""
        return self.text % self.params if self.params else self.text

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, Any]:
        """Return the error for another process; `from_json` builds it again."""
        return {
            "text": self.text,
            "params": self.params,
            "reason_code": self.reason_code,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build the error that another process returned by `to_json`."""
        return cls(
            values["text"], params=values["params"], reason_code=values["reason_code"]
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with every attribute."""
        return (
            _rebuild,
            (
                type(self),
                self.text,
                self.params,
                self.reason_code,
                self.shown,
                self.permanent,
            ),
        )


class ImageError(MlError):
    """The pixels cannot be read.

    reason_code: unreadable_pixels, too_many_pixels, no_pixels or
    unsupported_transfer_syntax.
    """

    default_reason_code = "unreadable_pixels"


class ImageAttributeError(ImageError):
    """An attribute that decides what the image shows has no single meaning.

    The image is kept; no model scores it.

    reason_code: invalid_attribute or invalid_lookup_table.
    """

    default_reason_code = "invalid_attribute"


class ImageRejected(MlError):  # noqa: N818 - an outcome, not a fault
    """The image may not be scored by this model.

    reason_code: wrong_species, wrong_modality, wrong_body_part, lateral_view,
    colour_image, blank_image, multi_frame, wrong_age, unlike_training_images, inverted,
    rotated, cropped or no_model.
    """

    default_reason_code = "no_model"


class ModelError(MlError):
    """The card, the weights or another part of a model cannot be used."""

    default_reason_code = "model_unusable"


class TrainingError(MlError):
    """A data set, a recipe or a run folder cannot be used for training."""

    default_reason_code = "training_refused"


def _rebuild(
    kind: type[MlError],
    text: str,
    params: dict[str, object],
    reason_code: str,
    shown: bool,
    permanent: bool,
) -> MlError:
    return kind(
        text,
        params=params,
        reason_code=reason_code,
        shown=shown,
        permanent=permanent,
    )
