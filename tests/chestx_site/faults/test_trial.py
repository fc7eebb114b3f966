"""The fault test in short, with real processes; it detects planted faults."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from chestx_site.faults.injections import Fault, Injected, Loss, plan
from chestx_site.faults.record import Counts
from chestx_site.faults.sources import Sent
from chestx_site.faults.trial import Options, Report, judge, run_trial
from chestx_site.management.commands.faults import table
from tests.brackets import outside_brackets
from tests.chestx_site.programs import short_folder

SEED = 4711
GOOD = Counts(
    instances=3,
    succeeded=3,
    otherwise_finished=0,
    unfinished=0,
    images_without_one_run=0,
    runs_without_all_findings=0,
    findings=18,
    heat_maps=18,
    finished_by_another_attempt=0,
    lost_workers=1,
    attempts=4,
    wrong_worklist_lines=0,
)
MUST_BE_ZERO = [
    field.name
    for field in fields(Counts)
    if getattr(GOOD, field.name) == 0  # nothing wrong in a good run
]


def report(counts: Counts = GOOD, *, recovery_s: float = 12.0) -> Report:
    injected = Injected(losses=[Loss("one", 1, 0.0, recovery_s)])
    injected.counts[Fault.KILL_WORKER] = 2
    return Report(
        options=Options(seed=1, images=3, kills=2, lease_s=10),
        counts=counts,
        sent={"web": Sent(images=3)},
        injected=injected,
        unforeseen=0,
        late_results=0,
        took_s=1.0,
    )


def test_a_run_without_faults_passes() -> None:
    assert judge(report()) == []


@pytest.mark.parametrize("wrong", MUST_BE_ZERO)
def test_lost_duplicate_and_stuck_images_are_reported(wrong: str) -> None:
    assert len(judge(report(replace(GOOD, **{wrong: 1})))) == 1


@pytest.mark.parametrize("count", ["instances", "succeeded"])
def test_a_wrong_number_of_images_is_reported(count: str) -> None:
    for there in (2, 4):
        assert judge(report(replace(GOOD, **{count: there})))


def test_a_slow_recovery_is_reported() -> None:
    assert judge(report(recovery_s=20.1)) == ["recoveries slower than 20 s: 1"]


def test_errors_missing_kills_and_refused_images_are_reported() -> None:
    bad = report()
    bad.unforeseen = 2
    bad.injected.counts[Fault.KILL_WORKER] = 1
    bad.sent["web"].failures.append("web: 500")
    assert judge(bad) == [
        "unexpected errors in the worker: 2",
        "kills: 1, expected 2",
        "web: 500",
    ]


def test_table_and_errors_are_in_the_language_of_the_reader(brackets: None) -> None:
    bad = report(replace(GOOD, **dict.fromkeys(MUST_BE_ZERO, 1)), recovery_s=21)
    bad.unforeseen = 2
    for line in (*table(bad), *judge(bad)):
        assert not re.search(r"[a-z]{2}", outside_brackets(line)), line


def test_the_same_seed_gives_the_same_plan() -> None:
    plans = [plan(seed=seed, kills=20, freezes=2, span_s=60) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    kinds = [planned.fault for planned in plans[0]]
    for once in (Fault.FLUSH_REDIS, Fault.EMPTY_REDIS, Fault.RESTART_POSTGRESQL):
        assert kinds.count(once) == 1
    kills = kinds.count(Fault.KILL_WORKER) + kinds.count(Fault.KILL_POOL_CHILD)
    assert kills == 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_image_is_lost_duplicated_or_stuck() -> None:
    options = Options(
        seed=SEED, images=9, kills=3, freezes=1, span_s=12, lease_s=4, image_size=256
    )
    messages: list[str] = []
    with short_folder() as folder:
        trial = run_trial(folder / "var", options=options, say=messages.append)
    assert trial.faults == []
    assert trial.counts.succeeded == options.images
    assert trial.counts.findings == trial.counts.heat_maps > 0
