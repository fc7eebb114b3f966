"""A finding as it is shown: a number, and a bar with the threshold as a tick."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext

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
        """Two digits, or as many as show which side of the threshold it is on."""
        return f"{self.probability:.{self._digits}f}"

    @property
    def threshold_text(self) -> str:
        """The threshold with as many digits as the score."""
        return f"{self.threshold:.{self._digits}f}"

    @property
    def _digits(self) -> int:
        distinct = (
            digits
            for digits in DIGITS
            if f"{self.probability:.{digits}f}" != f"{self.threshold:.{digits}f}"
        )
        return next(distinct, DIGITS[0])

    @property
    def score_percent(self) -> str:
        """The length of the bar."""
        return f"{self.probability * 100:.1f}"

    @property
    def threshold_percent(self) -> str:
        """The position of the tick."""
        return f"{self.threshold * 100:.1f}"


def display_of(label: str, *, display: str = "") -> str:
    """Return a label's name for people: `Pleural_Thickening` is Pleural thickening.

    Args:
        label: As the model names it.
        display: The card's name of the label, if it has one.
    """
    if not display:
        display = label.replace("_", " ") if label.isupper() else _sentence_case(label)
    return gettext(display)


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
    """Return what is shown of a finding; `display` is the card's name of the label."""
    return FindingLine(
        key=finding.pk,
        display=display_of(finding.label, display=display),
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
    """Sort findings for display: marked ones first, then by score."""
    return sorted(
        findings,
        key=lambda finding: (
            not (finding.positive and finding.label not in NOTHING_FOUND_LABELS),
            -finding.probability,
            finding.position,
        ),
    )
