"""Time from a fresh demo's 'ready' to the stored result of the first image."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from django.utils.translation import gettext

from chestx_site.benchmarks.demo import ReadingClient, started_demo
from chestx_site.benchmarks.figures import Figures, spread
from chestx_site.benchmarks.images import drawn_images
from chestx_site.demo import READY
from chestx_site.testbed.site import Site

_RUNS = 5
# The demo says the same in the same language.
_READY = str(READY).partition("%")[0].encode()


def measure(say: Callable[[str], None]) -> Figures:
    """Start demos in empty folders, and send each an image once it says 'ready'.

    The time includes the sign-in of the sender. The result is that of the default
    model.

    Raises:
        BenchmarkError: A demo does not start, or an image is not read.
    """
    starts, signed_in, answered, first_images = [], [], [], []
    for content in drawn_images(_RUNS):
        began = time.perf_counter()
        with started_demo(say) as (site, wait_for):
            wait_for(_is_ready, 0.02)
            ready = time.perf_counter()
            starts.append(ready - began)
            client = ReadingClient(site)
            signed_in.append(time.perf_counter() - ready)
            prediction = client.send("first.dcm", content)
            answered.append(time.perf_counter() - ready)
            client.result(prediction)
            first_images.append(time.perf_counter() - ready)
        message = gettext("Ready after %(start).1f s, first image after %(first).2f s")
        say(message % {"start": starts[-1], "first": first_images[-1]})
    return spread(first_images, unit="s") | {
        "until_signed_in_median_s": round(median(signed_in), 4),
        "until_answered_median_s": round(median(answered), 4),
        "demo_until_ready": spread(starts, unit="s"),
    }


def _is_ready(site: Site, log: bytes) -> bool:
    return _READY in log
