"""The sign and the word of each priority and status: never colour alone."""

from dataclasses import dataclass

from diagnoses.models import ModelVersion, Prediction
from patients.models import Priority, Upload


@dataclass(frozen=True)
class Sign:
    """A tone for the style sheet, a sign for the eye, a word for everybody."""

    tone: str
    sign: str
    word: str


PRIORITIES = {
    Priority.STAT: Sign("stat", "▲", "Stat"),
    Priority.URGENT: Sign("urgent", "◆", "Urgent"),
    Priority.ROUTINE: Sign("routine", "", "Routine"),
}

_Status = Prediction.Status
STATUSES = {
    _Status.QUEUED: Sign("queued", "○", "Waiting"),
    _Status.RUNNING: Sign("running", "◌", "Analysing"),
    _Status.SUCCEEDED: Sign("succeeded", "✓", "Analysed"),
    _Status.REJECTED: Sign("rejected", "⊘", "Not scored"),
    _Status.FAILED: Sign("failed", "✕", "Failed"),
}
NOT_SCORED_WORDS = {
    "wrong_body_part": "Other body part",
    "wrong_modality": "Other modality",
    "lateral_view": "Lateral view",
    "colour_image": "Colour picture",
    "blank_image": "Blank picture",
    "multi_frame": "Several frames",
    "wrong_age": "Other age",
    "unlike_training_images": "No image it knows",
    "inverted": "Inverted",
    "rotated": "Turned",
    "cropped": "Cut",
    "no_model": "No model for it",
}

OUTCOMES = {
    Upload.Outcome.STORED: Sign("succeeded", "✓", "Stored"),
    Upload.Outcome.DUPLICATE: Sign("duplicate", "=", "Already here"),
    Upload.Outcome.CONFLICT: Sign("conflict", "≠", "Conflict"),
    Upload.Outcome.REFUSED: Sign("refused", "✕", "Refused"),
}

_State = ModelVersion.State
MODEL_STATES = {
    _State.INSTALLED: Sign("queued", "○", "Installed, not in use"),
    _State.SHADOW: Sign("running", "◐", "In shadow"),
    _State.ACTIVE: Sign("succeeded", "✓", "In use"),
    _State.RETIRED: Sign("rejected", "⊘", "Retired"),
}
NO_WEIGHTS = Sign("rejected", "⊘", "No weights shipped")


def status_sign(status: str, *, reason_code: str = "") -> Sign:
    """Return the sign of a run's status; a rejected one says why in two words."""
    sign = STATUSES[Prediction.Status(status)]
    if status == _Status.REJECTED and reason_code in NOT_SCORED_WORDS:
        return Sign(sign.tone, sign.sign, NOT_SCORED_WORDS[reason_code])
    return sign
