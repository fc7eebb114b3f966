"""Time from the start of an upload to its stored result, one image at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median

from django.utils.translation import gettext

from chestx_site.benchmarks.cpu import cpu_seconds, used_per_image
from chestx_site.benchmarks.demo import ReadingClient, running_demo
from chestx_site.benchmarks.figures import Figures, spread
from chestx_site.benchmarks.images import drawn_images, jpeg_2000_images

_WARM_UP = 6
_IMAGES = 40
_JPEG_2000_IMAGES = 20


def measure(say: Callable[[str], None]) -> Figures:
    """Send drawn images, and the JPEG 2000 sample if available.

    Raises:
        BenchmarkError: The demo does not start, or an image is not read.
    """
    with running_demo(say) as site:
        client = ReadingClient(site)
        for content in drawn_images(_WARM_UP):
            client.result(client.send("warm-up.dcm", content))
        message = gettext("Upload: %(images)d drawn images, one at a time")
        say(message % {"images": _IMAGES})
        used = cpu_seconds(site.var_dir)
        figures = _one_at_a_time(client, drawn_images(_IMAGES))
        after = cpu_seconds(site.var_dir)
        figures["cpu_seconds_a_image_of"] = used_per_image(used, after, _IMAGES)
        say(gettext("Upload: the JPEG 2000 sample"))
        compressed = _one_at_a_time(client, jpeg_2000_images(_JPEG_2000_IMAGES))
        return figures | ({"jpeg_2000": compressed} if compressed else {})


def _one_at_a_time(client: ReadingClient, images: Iterable[bytes]) -> Figures:
    """Measure images from upload to result, with the parts of the time."""
    whole, answered, inference = [], [], []
    for content in images:
        began = time.perf_counter()
        prediction = client.send("image.dcm", content)
        answered.append(time.perf_counter() - began)
        result = client.result(prediction)
        whole.append(time.perf_counter() - began)
        inference.append(float(result["milliseconds"] or 0) / 1000)
    if not whole:
        return {}
    return spread(whole, unit="s") | {
        "until_answered_median_s": round(median(answered), 4),
        "from_answer_to_result_median_s": round(
            median(w - a for w, a in zip(whole, answered, strict=True)), 4
        ),
        "of_that_inference_median_s": round(median(inference), 4),
    }
