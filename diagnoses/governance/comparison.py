"""Compare two versions on the images that both have read.

The database counts, label by label; the latest run of each version on an image counts.
Only for users who may see shadow runs: the caller checks that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from accounts.access import visible_departments
from accounts.models import User
from diagnoses.models import Finding, ModelVersion

MOST_IMAGES = 50

# The images that both versions have read, with the run of each.
_BOTH = """
WITH chosen AS (
    SELECT DISTINCT ON (run.model_version_id, run.instance_id, run.frame)
        run.id, run.model_version_id, run.instance_id, run.frame
    FROM diagnoses_prediction AS run
    WHERE run.status = 'succeeded'
        AND run.model_version_id IN (%(first)s, %(second)s)
    ORDER BY run.model_version_id, run.instance_id, run.frame, run.run DESC
), images AS (
    SELECT one.instance_id, one.frame, one.id AS first_run, other.id AS second_run,
        study.patient_id, study.id AS study_id
    FROM chosen AS one
    JOIN chosen AS other USING (instance_id, frame)
    JOIN patients_instance AS instance ON instance.id = one.instance_id
    JOIN patients_series AS series ON series.id = instance.series_id
    JOIN patients_study AS study ON study.id = series.study_id
    WHERE one.model_version_id = %(first)s AND other.model_version_id = %(second)s
        AND study.department_id = ANY(%(departments)s)
), pairs AS (
    SELECT images.*, one.label, one.position, one.positive AS first_positive,
        other.positive AS second_positive,
        abs(one.probability - other.probability) AS difference
    FROM images
    JOIN diagnoses_finding AS one ON one.prediction_id = images.first_run
    JOIN diagnoses_finding AS other
        ON other.prediction_id = images.second_run AND other.label = one.label
)
"""
_LABELS = """
SELECT label,
    count(*) FILTER (WHERE first_positive AND second_positive),
    count(*) FILTER (WHERE first_positive AND NOT second_positive),
    count(*) FILTER (WHERE NOT first_positive AND second_positive),
    count(*) FILTER (WHERE NOT first_positive AND NOT second_positive),
    avg(difference), max(difference)
FROM pairs GROUP BY label ORDER BY min(position), label
"""
_COUNT = "SELECT count(*) FROM images"
_DIFFERING = """
SELECT instance_id, frame, patient_id, study_id, first_run, second_run,
    count(*) FILTER (WHERE first_positive <> second_positive),
    max(difference), count(*) OVER ()
FROM pairs
WHERE %(image)s::uuid IS NULL OR instance_id = %(image)s::uuid
GROUP BY instance_id, frame, patient_id, study_id, first_run, second_run
HAVING bool_or(first_positive <> second_positive) OR %(image)s::uuid IS NOT NULL
ORDER BY count(*) FILTER (WHERE first_positive <> second_positive) DESC,
    max(difference) DESC, instance_id
LIMIT %(most)s
"""
# The label with the highest score of each version, for softmax models.
_TOP = """
, top AS (
    SELECT DISTINCT ON (finding.prediction_id) finding.prediction_id, finding.label
    FROM diagnoses_finding AS finding
    WHERE finding.prediction_id IN (
        SELECT first_run FROM images UNION SELECT second_run FROM images
    )
    ORDER BY finding.prediction_id, finding.probability DESC, finding.position
)
SELECT one.label, other.label, count(*)
FROM images
JOIN top AS one ON one.prediction_id = images.first_run
JOIN top AS other ON other.prediction_id = images.second_run
GROUP BY one.label, other.label
"""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two raters, with Cohen's kappa; None if chance alone agrees."""

    images: int
    agreed: int
    kappa: float | None

    @property
    def share(self) -> float | None:
        """The share of images on which they agree."""
        return self.agreed / self.images if self.images else None


@dataclass(frozen=True)
class LabelComparison:
    """One label: positive by both, by one of them, by none; and how far apart."""

    label: str
    both: int
    first_only: int
    second_only: int
    neither: int
    mean_difference: float
    greatest_difference: float

    @property
    def agreement(self) -> Agreement:
        """How often both are on the same side of their thresholds."""
        return agreement_of(
            {
                (True, True): self.both,
                (True, False): self.first_only,
                (False, True): self.second_only,
                (False, False): self.neither,
            }
        )


@dataclass(frozen=True)
class LabelOnImage:
    """The findings of both versions for one label of one image."""

    label: str
    first: Finding
    second: Finding

    @property
    def differs(self) -> bool:
        """Whether one calls it positive and the other does not."""
        return self.first.positive != self.second.positive


@dataclass(frozen=True)
class ImageComparison:
    """One image: differing labels, greatest difference, and the findings."""

    instance_id: UUID
    frame: int
    patient_id: UUID
    study_id: UUID
    labels_differing: int
    greatest_difference: float
    labels: tuple[LabelOnImage, ...]


@dataclass(frozen=True)
class Comparison:
    """Two versions on the images that both have read.

    Attributes:
        images: How many images both have read.
        labels: The labels that both have.
        highest: Agreement of the highest labels, for two softmax models.
        images_differing: On how many images a label is positive for one only.
        differing: Those images, the most different first, at most MOST_IMAGES.
    """

    first: ModelVersion
    second: ModelVersion
    images: int
    labels: tuple[LabelComparison, ...]
    highest: Agreement | None
    images_differing: int
    differing: tuple[ImageComparison, ...]


def compare(first: ModelVersion, second: ModelVersion, *, user: User) -> Comparison:
    """Compare two versions on the images of the user's departments."""
    values = _values(first, second, user)
    [(images,)] = _rows(_BOTH + _COUNT, values)
    differing = _rows(_BOTH + _DIFFERING, values)
    return Comparison(
        first=first,
        second=second,
        images=images,
        labels=tuple(LabelComparison(*row) for row in _rows(_BOTH + _LABELS, values)),
        highest=_highest(first, second, values),
        images_differing=differing[0][-1] if differing else 0,
        differing=_images_of(differing),
    )


def compare_image(
    first: ModelVersion, second: ModelVersion, *, image: UUID, user: User
) -> ImageComparison | None:
    """Return the comparison of one image; None unless both have read it."""
    values = _values(first, second, user, image=image)
    return next(iter(_images_of(_rows(_BOTH + _DIFFERING, values))), None)


def agreement_of(table: Mapping[tuple[object, object], int]) -> Agreement:
    """Return the agreement of two raters (Cohen 1960).

    Args:
        table: How many images the first called one thing and the second another.
    """
    images = sum(table.values())
    agreed = sum(count for (one, other), count in table.items() if one == other)
    if not images:
        return Agreement(0, 0, None)
    names = {name for pair in table for name in pair}
    by_chance = sum(
        sum(n for (one, _), n in table.items() if one == name)
        * sum(n for (_, other), n in table.items() if other == name)
        for name in names
    ) / (images * images)
    if by_chance >= 1.0:
        return Agreement(images, agreed, None)
    return Agreement(images, agreed, (agreed / images - by_chance) / (1.0 - by_chance))


def _values(
    first: ModelVersion, second: ModelVersion, user: User, *, image: UUID | None = None
) -> dict[str, Any]:
    return {
        "first": first.pk,
        "second": second.pk,
        "departments": list(visible_departments(user).values_list("pk", flat=True)),
        "image": image,
        "most": MOST_IMAGES,
    }


def _rows(sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def _highest(
    first: ModelVersion, second: ModelVersion, values: Mapping[str, Any]
) -> Agreement | None:
    if {first.card.get("task"), second.card.get("task")} != {"softmax"}:
        return None
    called = _rows(_BOTH + _TOP, values)
    return agreement_of({(one, other): count for one, other, count in called})


def _images_of(rows: Sequence[tuple[Any, ...]]) -> tuple[ImageComparison, ...]:
    findings: dict[UUID, dict[str, Finding]] = {}
    keys = [key for row in rows for key in row[4:6]]
    for finding in Finding.objects.filter(prediction__in=keys).order_by("position"):
        findings.setdefault(finding.prediction_id, {})[finding.label] = finding
    images = []
    for row in rows:
        instance_id, frame, patient_id, study_id, first_run, second_run = row[:6]
        by_second = findings[second_run]
        images.append(
            ImageComparison(
                instance_id=instance_id,
                frame=frame,
                patient_id=patient_id,
                study_id=study_id,
                labels_differing=row[6],
                greatest_difference=row[7],
                labels=tuple(
                    LabelOnImage(label, finding, by_second[label])
                    for label, finding in findings[first_run].items()
                    if label in by_second
                ),
            )
        )
    return tuple(images)
