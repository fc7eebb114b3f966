"""A finding as it is shown: a bar with the threshold as a tick, a number beside."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from diagnoses.models import Finding
from ml.labels import NOTHING_FOUND_LABELS

DIGITS = (2, 3, 4)


@dataclass(frozen=True)
class FindingLine:
    """What is shown of a finding.

    `marked`: above its threshold, and not Normal. `certainty`: how sure, in a word.
    """

    key: UUID
    display: str
    probability: float
    threshold: float
    positive: bool
    calibrated: bool
    marked: bool
    certainty: str = ""
    url: str = ""
    layer_url: str = ""
    current: bool = False

    @property
    def score(self) -> str:
        """Two digits; as many more as it takes to show the side of the threshold."""
        return f"{self.probability:.{self._digits}f}"

    @property
    def threshold_text(self) -> str:
        """The threshold with as many digits as the score."""
        return f"{self.threshold:.{self._digits}f}"

    @property
    def _digits(self) -> int:
        told_apart = (
            digits
            for digits in DIGITS
            if f"{self.probability:.{digits}f}" != f"{self.threshold:.{digits}f}"
        )
        return next(told_apart, DIGITS[0])

    @property
    def score_percent(self) -> str:
        """How long the bar is."""
        return f"{self.probability * 100:.1f}"

    @property
    def threshold_percent(self) -> str:
        """Where the tick stands."""
        return f"{self.threshold * 100:.1f}"


def display_of(label: str) -> str:
    """Write a label for people: `Pleural_Thickening` is Pleural thickening."""
    return label.replace("_", " ") if label.isupper() else _sentence_case(label)


def _sentence_case(label: str) -> str:
    if "_" not in label:
        return label
    first, *others = label.split("_")
    return " ".join([first, *(other.lower() for other in others)])


def finding_line(
    finding: Finding,
    *,
    display: str = "",
    certainty: str = "",
    url: str = "",
    layer_url: str = "",
    current: bool = False,
) -> FindingLine:
    """Return what is shown of a finding; `display` is the card's word for the label."""
    return FindingLine(
        key=finding.pk,
        display=display or display_of(finding.label),
        probability=finding.probability,
        threshold=finding.threshold,
        positive=finding.positive,
        calibrated=finding.calibrated,
        marked=finding.positive and finding.label not in NOTHING_FOUND_LABELS,
        certainty=certainty,
        url=url,
        layer_url=layer_url,
        current=current,
    )


def in_reading_order(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings as they are read: marked ones first, then by score."""
    return sorted(
        findings,
        key=lambda finding: (
            not (finding.positive and finding.label not in NOTHING_FOUND_LABELS),
            -finding.probability,
            finding.position,
        ),
    )
