"""The sign and the word of each priority and status: never colour alone."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from diagnoses.models import ModelVersion, Prediction
from patients.models import Priority, Upload


@dataclass(frozen=True)
class Sign:
    """A tone for the style sheet, a sign for the eye, a word for everybody."""

    tone: str
    sign: str
    word: Promise | str


PRIORITIES = {
    Priority.STAT: Sign("stat", "▲", _("Stat")),
    Priority.URGENT: Sign("urgent", "◆", _("Urgent")),
    Priority.ROUTINE: Sign("routine", "", _("Routine")),
}

_Status = Prediction.Status
STATUSES = {
    _Status.QUEUED: Sign("queued", "○", _("Waiting")),
    _Status.RUNNING: Sign("running", "◌", _("Analysing")),
    _Status.SUCCEEDED: Sign("succeeded", "✓", _("Analysed")),
    _Status.REJECTED: Sign("rejected", "⊘", _("Not scored")),
    _Status.FAILED: Sign("failed", "✕", _("Failed")),
}
NOT_SCORED_WORDS: dict[str, Promise | str] = {
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
}

OUTCOMES = {
    Upload.Outcome.STORED: Sign("succeeded", "✓", _("Stored")),
    Upload.Outcome.DUPLICATE: Sign("duplicate", "=", _("Already stored")),
    Upload.Outcome.CONFLICT: Sign("conflict", "≠", _("Conflict")),
    Upload.Outcome.REFUSED: Sign("refused", "✕", _("Refused")),
}

_State = ModelVersion.State
MODEL_STATES = {
    _State.INSTALLED: Sign("queued", "○", _("Installed, not in use")),
    _State.SHADOW: Sign("running", "◐", _("In shadow")),
    _State.ACTIVE: Sign("succeeded", "✓", _("In use")),
    _State.RETIRED: Sign("rejected", "⊘", _("Retired")),
}
NO_WEIGHTS = Sign("rejected", "⊘", _("No weights shipped"))


def status_sign(status: str, *, reason_code: str = "") -> Sign:
    """Return the sign of a run's status; a rejected run gets its reason as the word."""
    sign = STATUSES[Prediction.Status(status)]
    if status == _Status.REJECTED and reason_code in NOT_SCORED_WORDS:
        return Sign(sign.tone, sign.sign, NOT_SCORED_WORDS[reason_code])
    return sign
