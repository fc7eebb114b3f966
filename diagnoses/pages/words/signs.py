"""The sign and the word of each priority and status: never colour alone."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from diagnoses.messages import REASON_WORDS
from diagnoses.models import ModelVersion, Prediction
from patients.models import Priority, Upload


@dataclass(frozen=True)
class Sign:
    """A tone for the style sheet, a drawing of `static/img/signs.svg`, a word."""

    tone: str
    sign: str
    word: Promise | str


PRIORITIES = {
    Priority.STAT: Sign("stat", "triangle", _("Stat")),
    Priority.URGENT: Sign("urgent", "diamond", _("Urgent")),
    Priority.ROUTINE: Sign("routine", "", _("Routine")),
}

_Status = Prediction.Status
STATUSES = {
    _Status.QUEUED: Sign("queued", "circle", _("Waiting")),
    _Status.RUNNING: Sign("running", "broken-circle", _("Analysing")),
    _Status.SUCCEEDED: Sign("succeeded", "check", _("Analysed")),
    _Status.REJECTED: Sign("rejected", "barred-circle", _("Not scored")),
    _Status.FAILED: Sign("failed", "cross", _("Failed")),
}
OUTCOMES = {
    Upload.Outcome.STORED: Sign("succeeded", "check", _("Stored")),
    Upload.Outcome.DUPLICATE: Sign("duplicate", "equal", _("Already stored")),
    Upload.Outcome.CONFLICT: Sign("conflict", "unequal", _("Conflict")),
    Upload.Outcome.REFUSED: Sign("refused", "cross", _("Refused")),
}

_State = ModelVersion.State
MODEL_STATES = {
    _State.INSTALLED: Sign("queued", "circle", _("Installed, not in use")),
    _State.SHADOW: Sign("running", "half-circle", _("In shadow")),
    _State.ACTIVE: Sign("succeeded", "check", _("In use")),
    _State.RETIRED: Sign("rejected", "barred-circle", _("Retired")),
}
NO_WEIGHTS = Sign("rejected", "barred-circle", _("No weights shipped"))


def status_sign(status: str, *, reason_code: str = "") -> Sign:
    """Return the sign of a run's status; a rejected run gets its reason as the word."""
    sign = STATUSES[Prediction.Status(status)]
    if status == _Status.REJECTED and reason_code in REASON_WORDS:
        return Sign(sign.tone, sign.sign, REASON_WORDS[reason_code])
    return sign
