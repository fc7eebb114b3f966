"""How sure a run was, in words: as it was stored with the run, never computed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from diagnoses.models import Prediction

CONFIDENT = "confident"


@dataclass(frozen=True)
class RunCertainty:
    """What a run's provenance says: a word a label, and the labels not ruled out."""

    words: Mapping[str, str] = field(default_factory=dict)
    label_set: Sequence[str] = ()

    def word(self, label: str, *, positive: bool) -> str:
        """Return what stands beside a label.

        That a label is confidently not there needs no word: most are.
        """
        word = self.words.get(label, "")
        return word if positive or word != CONFIDENT else ""

    def sentence(self, displays: Mapping[str, str]) -> str:
        """Return what the model could not tell apart; "" where there is nothing.

        Args:
            displays: The card's words for the labels.
        """
        open_labels = [displays.get(label, label) for label in self.label_set]
        if len(open_labels) < 2:
            return ""
        first = ", ".join(open_labels[:-1])
        return f"The model cannot rule out: {first} or {open_labels[-1]}."


def certainties_of(runs: Sequence[Prediction]) -> dict[UUID, RunCertainty]:
    """Return how sure each run was; none of those that came before it was stored."""
    stored = Prediction.objects.filter(
        pk__in=[run.pk for run in runs], provenance__has_key="certainty"
    ).values_list("pk", "provenance__certainty", "provenance__label_set")
    return {
        key: RunCertainty(dict(words or {}), tuple(label_set or ()))
        for key, words, label_set in stored
    }
