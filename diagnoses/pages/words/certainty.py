"""The certainty of a run as text: stored with the run, never computed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.models import Prediction
from diagnoses.pages.words.findings import display_of

CONFIDENT = "confident"
# The stored values of `ml.uncertainty`.
_WORDS = {
    CONFIDENT: _("confident"),
    "borderline": _("borderline"),
    "not sure": _("not sure"),
}


@dataclass(frozen=True)
class RunCertainty:
    """The certainty of each label, and the labels that a run could not rule out."""

    words: Mapping[str, str] = field(default_factory=dict)
    label_set: Sequence[str] = ()

    def word(self, label: str, *, positive: bool) -> str:
        """Return the certainty shown beside a label.

        A confident negative needs no word: most labels are.
        """
        word = self.words.get(label, "")
        if word == CONFIDENT and not positive:
            return ""
        return str(_WORDS.get(word, word))

    def sentence(self, displays: Mapping[str, str]) -> str:
        """Return which labels the model could not tell apart, or "".

        Args:
            displays: The card's names of the labels.
        """
        open_labels = [
            display_of(label, display=displays.get(label, ""))
            for label in self.label_set
        ]
        if len(open_labels) < 2:
            return ""
        listed = get_text_list(open_labels, gettext("or"))
        return gettext("The model cannot rule out: %(labels)s.") % {"labels": listed}


def certainties_of(runs: Sequence[Prediction]) -> dict[UUID, RunCertainty]:
    """Return the certainty of each run that has one stored."""
    stored = Prediction.objects.filter(
        pk__in=[run.pk for run in runs], provenance__has_key="certainty"
    ).values_list("pk", "provenance__certainty", "provenance__label_set")
    return {
        key: RunCertainty(dict(words or {}), tuple(label_set or ()))
        for key, words, label_set in stored
    }
