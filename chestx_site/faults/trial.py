"""A trial: send images through three sources during faults, then count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from django.utils.translation import gettext
from pydicom.uid import generate_uid

from chestx_site.faults.injections import Fault, Injected, Injector, plan
from chestx_site.faults.record import Counts, Record
from chestx_site.faults.sources import (
    FolderSource,
    RestSource,
    Sent,
    Source,
    WebSource,
    send_all,
)
from chestx_site.faults.stack import FaultStack
from patients.phantom.dataset import phantom_dataset

LOOK_INTERVAL_S = 0.02
CHESTS = 6
# The sweeper releases images at most this long after the end of their lease.
RECOVERY_ALLOWANCE_S = 10.0
# Time after the last fault to restart workers and read all waiting images.
SETTLING_S = 90.0
# Lines of the worker's log about unexpected errors and late results.
UNFORESEEN = "failed unexpectedly"
LATE = "came late and was thrown away"


@dataclass(frozen=True)
class Options:
    """Options of a trial."""

    seed: int
    images: int = 100
    kills: int = 20
    freezes: int = 2
    span_s: float = 150.0
    lease_s: float = 20.0
    concurrency: int = 2
    image_size: int = 768


@dataclass
class Report:
    """Results of a trial.

    Attributes:
        options: Its options.
        counts: Counts in the database at the end.
        sent: Images sent by each source.
        injected: The injected faults.
        unforeseen: Number of unexpected errors in the worker's log.
        late_results: Number of results discarded because their claim was lost.
        took_s: Seconds from the first upload until all images were read.
    """

    options: Options
    counts: Counts
    sent: dict[str, Sent]
    injected: Injected
    unforeseen: int
    late_results: int
    took_s: float
    faults: list[str] = field(default_factory=list)

    @property
    def recoveries_s(self) -> list[float]:
        """Seconds until each lost image was released, sorted."""
        return sorted(
            loss.given_back_after_s
            for loss in self.injected.losses
            if loss.given_back_after_s is not None
        )


def run_trial(var_dir: Path, *, options: Options, say: Callable[[str], None]) -> Report:
    """Run a trial in an empty folder and judge it.

    Raises:
        EmbeddedServiceError: The stack does not start.
    """
    stack = FaultStack(
        var_dir, lease_s=options.lease_s, concurrency=options.concurrency, say=say
    )
    record = Record(stack.database_url)
    try:
        say(gettext("Drawing images"))
        images = draw_images(var_dir.parent / "images", options)
        say(gettext("Starting servers, web, worker and sweeper"))
        stack.start()
        message = gettext("Sending %(images)d images during faults (seed %(seed)d)")
        say(message % {"images": options.images, "seed": options.seed})
        report = _break_and_count(stack, record, images, options)
    finally:
        record.close()
        stack.stop()
    report.faults = judge(report)
    return report


def draw_images(folder: Path, options: Options) -> list[Path]:
    """Draw images of different patients, with different pixels and identifiers.

    Drawing is slow: a few chests are drawn, and shifted a little for each image.
    """
    folder.mkdir()
    chests = [
        phantom_dataset(options.seed * 1_000 + number, size=options.image_size)
        for number in range(min(CHESTS, options.images))
    ]
    images = [folder / f"image-{number:03}.dcm" for number in range(options.images)]
    for number, image in enumerate(images):
        chest = deepcopy(chests[number % len(chests)])
        pixels = np.roll(chest.pixel_array, number // len(chests), axis=1)
        chest.PixelData = pixels.tobytes()
        chest.PatientID, chest.PatientName = f"FAULT-{number:03}", f"Fault^{number}"
        chest.StudyInstanceUID, chest.SeriesInstanceUID = generate_uid(), generate_uid()
        chest.SOPInstanceUID = generate_uid()
        chest.file_meta.MediaStorageSOPInstanceUID = chest.SOPInstanceUID
        chest.save_as(image, enforce_file_format=True)
    return images


def _break_and_count(
    stack: FaultStack, record: Record, images: list[Path], options: Options
) -> Report:
    planned = plan(
        seed=options.seed,
        kills=options.kills,
        freezes=options.freezes,
        span_s=options.span_s,
    )
    injector = Injector(stack, record, planned=planned, seed=options.seed)
    sources = _sources(stack, images)
    began = time.monotonic()
    injector.begin()
    sent = _send_and_break(stack, record, injector, sources, span_s=options.span_s)
    took_s = time.monotonic() - began
    log = (stack.var_dir / "log" / "worker.log").read_text(errors="replace")
    return Report(
        options=options,
        counts=record.counts(),
        sent=sent,
        injected=injector.injected,
        unforeseen=log.count(UNFORESEEN),
        late_results=log.count(LATE),
        took_s=took_s,
    )


def _sources(stack: FaultStack, images: list[Path]) -> list[tuple[Source, list[Path]]]:
    """Return three sources, each with its images."""
    folder = stack.var_dir.parent / "folder"
    folder.mkdir()
    by_web, by_rest, by_folder = (images[n::3] for n in range(3))
    # Each import starts a process: three of them, each with a third of the images.
    at_once = -(-len(by_folder) // 3)
    return [
        (WebSource(stack), by_web),
        (RestSource(stack), by_rest),
        (FolderSource(stack, folder=folder, images_at_once=at_once), by_folder),
    ]


def _send_and_break(
    stack: FaultStack,
    record: Record,
    injector: Injector,
    sources: list[tuple[Source, list[Path]]],
    *,
    span_s: float,
) -> dict[str, Sent]:
    stopped = threading.Event()
    with ThreadPoolExecutor(len(sources)) as senders:
        sending = {
            source.name: senders.submit(
                send_all,
                source,
                images,
                span_s=span_s,
                going_on=lambda: not stopped.is_set(),
            )
            for source, images in sources
        }
        try:
            # In this long-lived thread: children die with the thread that forked them.
            _watch(stack, record, injector, sending)
        finally:
            stopped.set()
    return {name: future.result() for name, future in sending.items()}


def _watch(
    stack: FaultStack,
    record: Record,
    injector: Injector,
    sending: dict[str, Future[Sent]],
) -> None:
    """Inject faults and restart processes until all images are read or time is up."""
    give_up_at: float | None = None
    while give_up_at is None or time.monotonic() < give_up_at:
        stack.supervisor.look_after()
        sent = all(future.done() for future in sending.values())
        with contextlib.suppress(psycopg.OperationalError):
            injector.look()
            if sent and injector.done:
                give_up_at = give_up_at or time.monotonic() + SETTLING_S
                if record.unfinished() == 0:
                    return
        time.sleep(LOOK_INTERVAL_S)


def judge(report: Report) -> list[str]:
    """Return the errors: images lost, read twice or unfinished."""
    counts, options = report.counts, report.options
    limit_s = options.lease_s + RECOVERY_ALLOWANCE_S
    slow = [seconds for seconds in report.recoveries_s if seconds > limit_s]
    kills = sum(
        report.injected.counts[fault]
        for fault in (Fault.KILL_WORKER, Fault.KILL_POOL_CHILD)
    )
    expected = {"images": options.images, "kills": options.kills}
    errors = [
        (
            gettext("instances: %(count)d, expected %(images)d"),
            counts.instances,
            counts.instances != options.images,
        ),
        (gettext("images stuck: %(count)d"), counts.unfinished, counts.unfinished > 0),
        (
            gettext("images failed or rejected: %(count)d"),
            counts.otherwise_finished,
            counts.otherwise_finished > 0,
        ),
        (
            gettext("runs that succeeded: %(count)d, expected %(images)d"),
            counts.succeeded,
            counts.succeeded != options.images,
        ),
        (
            gettext("images without exactly one run: %(count)d"),
            counts.images_without_one_run,
            counts.images_without_one_run > 0,
        ),
        (
            gettext("runs with missing or extra findings: %(count)d"),
            counts.runs_without_all_findings,
            counts.runs_without_all_findings > 0,
        ),
        (
            gettext("runs finished after losing the claim: %(count)d"),
            counts.finished_by_another_attempt,
            counts.finished_by_another_attempt > 0,
        ),
        (
            gettext("wrong worklist entries: %(count)d"),
            counts.wrong_worklist_lines,
            counts.wrong_worklist_lines > 0,
        ),
        (
            gettext("unexpected errors in the worker: %(count)d"),
            report.unforeseen,
            report.unforeseen > 0,
        ),
        (
            gettext("recoveries slower than %(limit)d s: %(count)d"),
            len(slow),
            bool(slow),
        ),
        (
            gettext("kills: %(count)d, expected %(kills)d"),
            kills,
            kills != options.kills,
        ),
    ]
    failures = [f for sent in report.sent.values() for f in sent.failures]
    return [
        sentence % {**expected, "limit": limit_s, "count": count}
        for sentence, count, wrong in errors
        if wrong
    ] + failures
