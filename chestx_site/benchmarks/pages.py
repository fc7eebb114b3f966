"""Response times of pages with 1,000 and with 100,000 studies."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable, Iterable
from itertools import cycle, islice

from django.utils.translation import gettext

from chestx_site.benchmarks.demo import running_demo
from chestx_site.benchmarks.figures import Figures, spread
from chestx_site.testbed.clients import BrowserSession
from chestx_site.testbed.site import Site

SIZES = (1_000, 100_000)
_ROUNDS = 100
_WARM_UP = 15
_FILL = "from chestx_site.benchmarks.records import fill; fill({size}, '{path}')"


def measure(say: Callable[[str], None]) -> Figures:
    """Measure worklist, search and history on a real server at both sizes.

    Raises:
        BenchmarkError: The demo does not start, or a page is an error.
    """
    figures: Figures = {}
    with running_demo(say) as site:
        for size in SIZES:
            message = gettext("Pages: filling the record up to %(studies)s studies")
            say(message % {"studies": f"{size:,}"})
            addresses = _filled(site, size)
            say(gettext("Pages: %(rounds)d rounds") % {"rounds": _ROUNDS})
            figures[f"studies_{size}"] = _time_pages(BrowserSession(site), addresses)
    small, large = (figures[f"studies_{size}"] for size in SIZES)
    ratios = {
        page: round(large[page]["p95_s"] / small[page]["p95_s"], 3) for page in small
    }
    return {"ratio": max(ratios.values()), "ratios": ratios, **figures}


def _filled(site: Site, size: int) -> dict[str, list[str]]:
    """Fill the record, and return addresses of pages by their kind."""
    path = site.var_dir / "addresses.json"
    site.manage("shell", "--verbosity", "0", "-c", _FILL.format(size=size, path=path))
    words = json.loads(path.read_text("utf-8"))

    def searches(terms: Iterable[str]) -> list[str]:
        return [f"/?{urllib.parse.urlencode({'q': term})}" for term in terms]

    return {
        "worklist": ["/", "/?sort=newest"],
        "search_name": searches(words["names"]),
        "search_identifier": searches(words["identifiers"]),
        "search_accession": searches(words["accession_numbers"]),
        "history": [f"/patients/{key}/" for key in words["patients"]],
    }


def _time_pages(browser: BrowserSession, pages: dict[str, list[str]]) -> Figures:
    """Request pages of all kinds in turns, so that other load affects all of them."""
    times: dict[str, list[float]] = {page: [] for page in pages}
    for number, addresses in enumerate(
        islice(zip(*map(cycle, pages.values()), strict=False), _WARM_UP + _ROUNDS)
    ):
        for page, address in zip(pages, addresses, strict=True):
            began = time.perf_counter()
            browser.get(address)
            if number >= _WARM_UP:
                times[page].append(time.perf_counter() - began)
    return {page: spread(seconds, unit="s") for page, seconds in times.items()}
