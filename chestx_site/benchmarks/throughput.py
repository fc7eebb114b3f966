"""Images per second from four clients, until all results are stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

from django.utils.translation import gettext

from chestx_site.benchmarks.cpu import cpu_seconds, used_per_image
from chestx_site.benchmarks.demo import ReadingClient, running_demo
from chestx_site.benchmarks.figures import Figures
from chestx_site.benchmarks.images import jpeg_pictures
from chestx_site.testbed.site import Site

_CLIENTS = 4
# Polling is slow on purpose: it takes CPU time from the images.
_POLL_S = 0.25
_WARM_UP = 12
_IMAGES = 200


def measure(say: Callable[[str], None]) -> Figures:
    """Send JPEG images from four clients at once, then wait for the last result.

    Raises:
        BenchmarkError: The demo does not start, or an image is not read.
    """
    source, pictures = jpeg_pictures()
    with running_demo(say) as site:
        _send_all(site, pictures, _WARM_UP, prefix="WARM")
        say(
            gettext("Throughput: %(images)d images from %(clients)d clients")
            % {"images": _IMAGES, "clients": _CLIENTS}
        )
        used = cpu_seconds(site.var_dir)
        began = time.perf_counter()
        sent_s = _send_all(site, pictures, _IMAGES, prefix="BENCH")
        took_s = time.perf_counter() - began
        per_image = used_per_image(used, cpu_seconds(site.var_dir), _IMAGES)
    return {
        "images_per_s": round(_IMAGES / took_s, 2),
        "sent_per_s": round(_IMAGES / sent_s, 2),
        "cpu_seconds_a_image": round(sum(per_image.values()), 4),
        "cpu_seconds_a_image_of": per_image,
        "images": _IMAGES,
        "clients": _CLIENTS,
        "source": source,
        "seconds": round(took_s, 2),
        "mean_kilobytes": round(sum(map(len, pictures)) / len(pictures) / 1000, 1),
    }


def _send_all(site: Site, pictures: list[bytes], count: int, *, prefix: str) -> float:
    """Send images for different patients and wait for all results.

    Returns:
        Seconds until the last upload was answered.
    """
    began = time.perf_counter()
    numbered = list(enumerate(islice(cycle(pictures), count)))
    shares = [numbered[start::_CLIENTS] for start in range(_CLIENTS)]
    with ThreadPoolExecutor(_CLIENTS) as clients:
        runs = clients.map(lambda share: _send(site, share, prefix), shares)
        predictions = [prediction for run in runs for prediction in run]
    sent_s = time.perf_counter() - began
    waiting = ReadingClient(site)
    for prediction in reversed(predictions):
        waiting.result(prediction, poll_s=_POLL_S)
    return sent_s


def _send(site: Site, images: list[tuple[int, bytes]], prefix: str) -> list[str]:
    client = ReadingClient(site)
    return [
        client.send("image.jpeg", content, patient_id=f"{prefix}-{number}")
        for number, content in images
    ]
