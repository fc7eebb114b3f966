"""A finding as it is shown: a number, a bar with its threshold, a heat map's legend."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from diagnoses.labels import label_name
from diagnoses.models import Finding
from ml.labels import is_flagged

DIGITS = (2, 3, 4)


@dataclass(frozen=True)
class Legend:
    """What the legend of a heat map tells: whose it is, its grid and its scale."""

    finding: str
    model: str
    cells: str
    strongest: str
    floor: str


@dataclass(frozen=True)
class FindingLine:
    """What is shown of a finding.

    `claimed`: the card claims an accuracy for the label; otherwise the finding has no
    mark and no certainty. `marked`: a flag (`ml.labels.is_flagged`). `certainty`: how
    sure, in a word.
    """

    key: UUID
    display: str
    probability: float
    threshold: float
    positive: bool
    calibrated: bool
    claimed: bool
    marked: bool
    certainty: str = ""
    url: str = ""
    layer_url: str = ""
    current: bool = False
    legend: Legend | None = None

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


def finding_line(
    finding: Finding,
    *,
    claimed_labels: Collection[str],
    display: str = "",
    certainty: str = "",
    url: str = "",
    layer_url: str = "",
    current: bool = False,
) -> FindingLine:
    """Return what is shown of a finding.

    Args:
        finding: The finding.
        claimed_labels: Those of the model version that made it.
        display: The card's name of the label.
        certainty: How sure, in a word.
        url: The page with this finding chosen.
        layer_url: The heat map.
        current: Whether it is the chosen one.
    """
    claimed = finding.label in claimed_labels
    return FindingLine(
        key=finding.pk,
        display=label_name(finding.label, display=display),
        probability=finding.probability,
        threshold=finding.threshold,
        positive=finding.positive,
        calibrated=finding.calibrated,
        claimed=claimed,
        marked=is_flagged(
            finding.label, positive=finding.positive, claimed_labels=claimed_labels
        ),
        certainty=certainty if claimed else "",
        url=url,
        layer_url=layer_url,
        current=current,
    )


def in_reading_order(
    findings: Iterable[Finding], *, claimed_labels: Collection[str]
) -> list[Finding]:
    """Sort findings for display: flags, other claimed labels, the rest; by score."""
    return sorted(
        findings,
        key=lambda finding: (
            not is_flagged(
                finding.label, positive=finding.positive, claimed_labels=claimed_labels
            ),
            finding.label not in claimed_labels,
            -finding.probability,
            finding.position,
        ),
    )
