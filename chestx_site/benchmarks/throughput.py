"""Films a second that four clients can send, until every result is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

from chestx_site.benchmarks.cpu import cpu_seconds, used_per_film
from chestx_site.benchmarks.figures import Figures
from chestx_site.benchmarks.films import jpeg_pictures
from chestx_site.benchmarks.site import RestClient, Site, running_demo

_CLIENTS = 4
# Only the end is waited for, and what is asked meanwhile takes time from the films.
_POLL_S = 0.25
_WARM_UP = 12
_FILMS = 200


def measure(say: Callable[[str], None]) -> Figures:
    """Send JPEG films from four clients at once, then wait for the last result.

    Raises:
        BenchmarkError: The demo does not start, or a film is not read.
    """
    source, pictures = jpeg_pictures()
    with running_demo(say) as site:
        _send_all(site, pictures, _WARM_UP, prefix="WARM")
        say(f"Throughput: {_FILMS} films ({source}) from {_CLIENTS} clients")
        used = cpu_seconds(site.var_dir)
        began = time.perf_counter()
        sent_s = _send_all(site, pictures, _FILMS, prefix="BENCH")
        took_s = time.perf_counter() - began
        per_film = used_per_film(used, cpu_seconds(site.var_dir), _FILMS)
    return {
        "films_per_s": round(_FILMS / took_s, 2),
        "sent_per_s": round(_FILMS / sent_s, 2),
        "cpu_seconds_a_film": round(sum(per_film.values()), 4),
        "cpu_seconds_a_film_of": per_film,
        "films": _FILMS,
        "clients": _CLIENTS,
        "source": source,
        "seconds": round(took_s, 2),
        "mean_kilobytes": round(sum(map(len, pictures)) / len(pictures) / 1000, 1),
    }


def _send_all(site: Site, pictures: list[bytes], count: int, *, prefix: str) -> float:
    """Send films, each for a patient of its own; return when the last was answered.

    All results are stored when this returns.
    """
    began = time.perf_counter()
    numbered = list(enumerate(islice(cycle(pictures), count)))
    shares = [numbered[start::_CLIENTS] for start in range(_CLIENTS)]
    with ThreadPoolExecutor(_CLIENTS) as clients:
        runs = clients.map(lambda share: _send(site, share, prefix), shares)
        predictions = [prediction for run in runs for prediction in run]
    sent_s = time.perf_counter() - began
    waiting = RestClient(site)
    for prediction in reversed(predictions):
        waiting.result(prediction, poll_s=_POLL_S)
    return sent_s


def _send(site: Site, films: list[tuple[int, bytes]], prefix: str) -> list[str]:
    client = RestClient(site)
    return [
        client.upload("film.jpeg", content, patient_id=f"{prefix}-{number}")
        for number, content in films
    ]
