"""How sure a run is, and which labels it does not score, as text.

Both are stored with the run and never computed again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.labels import label_name
from diagnoses.messages import NOT_SCORED_WORDS
from diagnoses.models import Prediction
from ml.cards.ages import Ages, ages_text

CONFIDENT = "confident"
# The stored values of `ml.uncertainty`.
_WORDS = {
    CONFIDENT: _("confident"),
    "borderline": _("borderline"),
    "not sure": _("not sure"),
}


@dataclass(frozen=True)
class RunCertainty:
    """The certainty of each label, and the labels that a run could not rule out.

    `not_scored`: the labels without a score and the reason code of each. `age_unknown`:
    the labels whose ages could not be compared with the patient's.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    label_set: Sequence[str] = ()
    not_scored: Mapping[str, str] = field(default_factory=dict)
    age_unknown: Sequence[str] = ()

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
            label_name(label, display=displays.get(label, ""))
            for label in self.label_set
        ]
        if len(open_labels) < 2:
            return ""
        listed = get_text_list(open_labels, gettext("or"))
        return gettext("The model cannot rule out: %(labels)s.") % {"labels": listed}

    def not_scored_lines(self, displays: Mapping[str, str]) -> list[str]:
        """Return a line for each label without a score: the label and the reason.

        Args:
            displays: The card's names of the labels.
        """
        return [
            gettext("%(label)s: %(reason)s")
            % {
                "label": label_name(label, display=displays.get(label, "")),
                "reason": NOT_SCORED_WORDS.get(code, code),
            }
            for label, code in self.not_scored.items()
        ]

    def age_sentence(
        self, displays: Mapping[str, str], label_ages: Mapping[str, Ages]
    ) -> str:
        """Return which scores depend on an age that is not known, or "".

        Args:
            displays: The card's names of the labels.
            label_ages: The ages at which the labels were measured.
        """
        if not self.age_unknown:
            return ""
        labels = ", ".join(
            gettext("%(label)s (%(ages)s years)")
            % {
                "label": label_name(label, display=displays.get(label, "")),
                "ages": ages_text(label_ages.get(label, ())),
            }
            for label in self.age_unknown
        )
        return gettext(
            "The patient's age is not known. Measured at these ages only: %(labels)s."
        ) % {"labels": labels}


def certainties_of(runs: Sequence[Prediction]) -> dict[UUID, RunCertainty]:
    """Return the certainty of each run that has one stored."""
    stored = Prediction.objects.filter(
        pk__in=[run.pk for run in runs], provenance__has_key="certainty"
    ).values_list(
        "pk",
        "provenance__certainty",
        "provenance__label_set",
        "provenance__not_scored",
        "provenance__age_unknown",
    )
    return {
        key: RunCertainty(
            dict(words or {}),
            tuple(label_set or ()),
            dict(not_scored or {}),
            tuple(age_unknown or ()),
        )
        for key, words, label_set, not_scored, age_unknown in stored
    }
