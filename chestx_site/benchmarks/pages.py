"""Response times of pages and lists with a million studies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from urllib.parse import urlencode

from django.utils.translation import gettext

from chestx_site.benchmarks.demo import running_demo
from chestx_site.benchmarks.figures import Figures, spread
from chestx_site.testbed.clients import BrowserSession, Client, RestClient
from chestx_site.testbed.site import Site

STUDIES = 1_000_000
_ROUNDS = 40
_WARM_UP = 5
_FILTERS = ("waiting", "stat", "urgent", "flagged", "unread", "today")
_LETTERS = "mskaeb"
_PREFIXES = ("mül", "sch", "koc", "joh", "and", "pap")
_PARTS = ("ller", "mann", "schm", "ohan", "ovic", "erg")
_REST = (
    "patients/?sex=F",
    "patients/?ordering=-birth_date",
    "studies/?priority=stat",
    "studies/?flag=accession_shared",
    "studies/?ordering=study_date",
    "series/?modality=MR",
    "instances/",
    "uploads/?outcome=conflict",
    "predictions/?status=failed",
)
_ADMIN = (
    "patients/patient/",
    "patients/study/?flag=identity_to_confirm",
    "patients/series/?modality=MR",
    "patients/instance/?picture__exact=1",
    "patients/upload/?outcome__exact=refused",
    "diagnoses/prediction/?status__exact=rejected",
    "diagnoses/finding/",
    "diagnoses/worklistentry/?status__exact=failed",
    "accounts/auditevent/?action=view",
)


def measure(say: Callable[[str], None], *, studies: int = STUDIES) -> Figures:
    """Measure pages, REST lists and admin lists on a real server.

    Raises:
        BenchmarkError: The demo does not start, or an answer is an error.
    """
    with running_demo(say) as site:
        message = gettext("Pages: filling the record up to %(studies)s studies")
        say(message % {"studies": f"{studies:,}"})
        began = time.perf_counter()
        words = _filled(site, studies)
        fill_s = time.perf_counter() - began
        say(gettext("Pages: %(rounds)d rounds") % {"rounds": _ROUNDS})
        times = _time_pages(site, _addresses(words))
    return {
        "studies": studies,
        "fill_s": round(fill_s, 1),
        "p95_s": max(kind["p95_s"] for kind in times.values()),
        "kinds": times,
    }


def _filled(site: Site, studies: int) -> Mapping[str, Sequence[str]]:
    """Fill the record, and return words and keys in it."""
    path = site.var_dir / "addresses.json"
    site.manage("fill_record", str(studies), "--words", str(path))
    words: Mapping[str, Sequence[str]] = json.loads(path.read_text("utf-8"))
    return words


def _addresses(words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return addresses of pages by their kind; those of /api/ and /admin/ too."""

    def searches(terms: Iterable[str]) -> list[str]:
        return [f"/?{urlencode({'q': term})}" for term in terms]

    return {
        "worklist": ["/"],
        "newest": ["/?sort=newest"],
        **{f"filter {name}": [f"/?show={name}"] for name in _FILTERS},
        "search: full name": searches(words["names"]),
        "search: prefix": searches(_PREFIXES),
        "search: part": searches(_PARTS),
        "search: one letter": searches(_LETTERS),
        "search: identifier": searches(words["identifiers"]),
        "search: part of one": searches(one[-5:] for one in words["identifiers"]),
        "search: accession": searches(words["accession_numbers"]),
        "search: birth date": searches(words["birth_dates"]),
        "history": [f"/patients/{key}/" for key in words["patients"]],
        "study": [f"/studies/{key}/" for key in words["studies"]],
        **{f"REST {path}": [f"/api/v1/{path}"] for path in _REST},
        **{f"admin {path}": [f"/admin/{path}"] for path in _ADMIN},
    }


def _time_pages(site: Site, pages: dict[str, list[str]]) -> dict[str, Figures]:
    """Request pages of all kinds in turns, so that other load affects all of them."""
    radiologist, admin = BrowserSession(site), BrowserSession(site, username="admin")
    program = RestClient(site)
    times: dict[str, list[float]] = {page: [] for page in pages}
    for number, addresses in enumerate(
        islice(zip(*map(cycle, pages.values()), strict=False), _WARM_UP + _ROUNDS)
    ):
        for page, address in zip(pages, addresses, strict=True):
            client: Client = admin if address.startswith("/admin/") else radiologist
            began = time.perf_counter()
            if address.startswith("/api/"):
                program.get(address)
            else:
                client.request(address)
            if number >= _WARM_UP:
                times[page].append(time.perf_counter() - began)
    return {page: spread(seconds, unit="s") for page, seconds in times.items()}
