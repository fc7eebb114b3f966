"""Queries of the trial to the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg


@dataclass(frozen=True)
class Held:
    """An image claimed by a worker."""

    prediction_id: str
    attempt: int
    worker: str


@dataclass(frozen=True)
class Counts:
    """Counts at the end of a trial; several must be zero."""

    instances: int
    succeeded: int
    otherwise_finished: int
    unfinished: int
    images_without_one_run: int
    runs_without_all_findings: int
    findings: int
    heat_maps: int
    finished_by_another_attempt: int
    lost_workers: int
    attempts: int
    wrong_worklist_lines: int


class Record:
    """Queries to the database of a stack; reconnects after failures.

    Each raises psycopg.OperationalError while the database is down.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def running(self, workers: Sequence[str]) -> list[Held]:
        """Return the images that these workers have claimed."""
        rows = self._ask(
            "SELECT id, attempt, worker FROM diagnoses_prediction "
            "WHERE status = 'running' AND worker = ANY(%s)",
            [list(workers)],
        )
        return [Held(str(row[0]), row[1], row[2]) for row in rows]

    def attempt_of(self, prediction_id: str) -> int:
        """Return the number of claims of an image."""
        [row] = self._ask(
            "SELECT attempt FROM diagnoses_prediction WHERE id = %s", [prediction_id]
        )
        return int(row[0])

    def is_held(self, prediction_id: str, attempt: int) -> bool:
        """Return whether this attempt still has its claim."""
        return bool(
            self._ask(
                "SELECT 1 FROM diagnoses_prediction "
                "WHERE id = %s AND attempt = %s AND status = 'running'",
                [prediction_id, attempt],
            )
        )

    def unfinished(self) -> int:
        """Count the images that wait or are being read."""
        [row] = self._ask(
            "SELECT count(*) FROM diagnoses_prediction "
            "WHERE status IN ('queued', 'running')"
        )
        return int(row[0])

    def counts(self) -> Counts:
        """Return all counts of the trial."""
        [row] = self._ask(_COUNTS)
        return Counts(*row)

    def _ask(
        self, question: str, values: Sequence[object] = ()
    ) -> list[tuple[Any, ...]]:
        """Run a query; after a failure the next one opens a new connection.

        Raises:
            psycopg.OperationalError: The database is down.
        """
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._database_url, autocommit=True)
            return self._connection.execute(question, values or None).fetchall()
        except psycopg.OperationalError:
            self.close()
            raise


_COUNTS = """
WITH runs AS (
    SELECT p.*,
        (SELECT count(*) FROM diagnoses_finding f WHERE f.prediction_id = p.id)
            AS findings,
        (SELECT count(DISTINCT f.label) FROM diagnoses_finding f
            WHERE f.prediction_id = p.id) AS labels,
        (SELECT count(*) FROM diagnoses_heatmap h
            JOIN diagnoses_finding f ON f.id = h.finding_id
            WHERE f.prediction_id = p.id) AS heat_maps,
        (SELECT jsonb_array_length(m.card -> 'labels') FROM diagnoses_modelversion m
            WHERE m.id = p.model_version_id) AS expected
    FROM diagnoses_prediction p
)
SELECT
    (SELECT count(*) FROM patients_instance),
    count(*) FILTER (WHERE status = 'succeeded'),
    count(*) FILTER (WHERE status IN ('failed', 'rejected')),
    count(*) FILTER (WHERE status IN ('queued', 'running')),
    (SELECT count(*) FROM patients_instance i
        WHERE 1 <> (SELECT count(*) FROM diagnoses_prediction p
            WHERE p.instance_id = i.id)),
    count(*) FILTER (WHERE status = 'succeeded'
        AND NOT (findings = expected AND labels = expected AND heat_maps = expected)),
    coalesce(sum(findings), 0)::int,
    coalesce(sum(heat_maps), 0)::int,
    count(*) FILTER (WHERE status = 'succeeded'
        AND (provenance ->> 'attempt')::int <> attempt),
    coalesce(sum(lost_workers), 0)::int,
    coalesce(sum(attempt), 0)::int,
    (SELECT count(*) FROM patients_study s
        LEFT JOIN diagnoses_worklistentry w ON w.study_id = s.id
        WHERE w.status IS DISTINCT FROM 'succeeded' OR w.images_waiting <> 0)
FROM runs
"""
