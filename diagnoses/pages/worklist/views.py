"""The worklist: what is to be done, the first thing first."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import Action, may, require
from accounts.audit import AuditAction
from diagnoses.models import WorklistEntryQuerySet as Entries
from diagnoses.pages.audit import record_read
from diagnoses.pages.worklist import keyset
from diagnoses.pages.worklist.keyset import (
    FILTERS,
    Filter,
    Key,
    Page,
    Sort,
    bounded_count,
)
from diagnoses.pages.worklist.rows import Row, rows_of
from diagnoses.worker.sweeper import delayed_since
from patients.search import studies_found

_SORT_WORDS = {Sort.PRIORITY: "Priority", Sort.NEWEST: "Newest"}
_ORDER_SENTENCES = {
    Sort.PRIORITY: "Sorted by priority, then newest first",
    Sort.NEWEST: "Sorted by arrival, newest first",
}
LONGEST_QUERY = 128


@dataclass(frozen=True)
class Asked:
    """What the address of the page asks for."""

    query: str
    filter: Filter
    sort: Sort
    after: Key | None

    @classmethod
    def of(cls, request: HttpRequest) -> "Asked":
        """Read the address.

        Raises:
            InvalidInput: The page that it names is none of ours.
        """
        parameters = request.GET
        chosen = keyset.filter_of(parameters.get("show", ""))
        if chosen.of_results and not may(request.user, Action.READ_RESULTS):
            chosen = FILTERS[0]
        query = parameters.get("q", "").replace("\x00", "").strip()[:LONGEST_QUERY]
        # What a search found is for looking at, not for working off.
        newest = bool(query) or parameters.get("sort") == Sort.NEWEST
        after = parameters.get("after", "")
        return cls(
            query=query,
            filter=chosen,
            sort=Sort.NEWEST if newest else Sort.PRIORITY,
            after=Key.read(after) if after else None,
        )

    def entries(self, visible: Entries) -> Entries:
        """Return the lines that are asked for."""
        if self.query:
            return visible.filter(study__in=studies_found(self.query))
        return visible.filter(self.filter.condition())

    def url(self, **changed: str) -> str:
        """Return the address with these parameters changed, from the first page on."""
        parameters = {
            "q": self.query,
            "show": self.filter.key,
            "sort": self._sort_value,
        }
        return address("worklist", parameters | changed)

    @property
    def _sort_value(self) -> str:
        return "" if self.sort == Sort.PRIORITY else self.sort.value

    @property
    def after_value(self) -> str:
        """The key that the page begins after, as it stands in the address."""
        return self.after.written() if self.after else ""


def address(name: str, parameters: dict[str, str]) -> str:
    """Return the address of a page with those parameters that say anything."""
    said = urlencode({key: value for key, value in parameters.items() if value})
    return reverse(name) + (f"?{said}" if said else "")


@require_safe
def worklist(request: HttpRequest) -> HttpResponse:
    """Show one page of the worklist, or of what a search found."""
    if not may(request.user, Action.READ_PATIENTS):
        # Whoever works with models alone begins there after signing in.
        require(request, Action.READ_MODELS)
        return redirect("models")
    asked = Asked.of(request)
    visible = keyset.visible_entries(request.user)
    found = keyset.page(asked.entries(visible), sort=asked.sort, after=asked.after)
    rows = rows_of(found.keys, user=request.user)
    record_read(
        request,
        object_kind="study",
        patients={row.patient_key for row in rows},
        action=AuditAction.SEARCH if asked.query else AuditAction.LIST,
        # Never the words: they may be a patient's name.
        detail={"rows": len(rows), "show": asked.filter.key, "sort": asked.sort.value},
    )
    template = "worklist/list.html" if request.htmx else "worklist/page.html"
    return render(
        request,
        template,
        {
            "page": _page_words(request, asked, visible, found, rows),
            "query": asked.query,
            "section": "worklist",
            "analysis_delayed_since": delayed_since(),
        },
    )


def _page_words(
    request: HttpRequest, asked: Asked, visible: Entries, found: Page, rows: list[Row]
) -> dict[str, object]:
    """Return what stands around the rows: counts, filters, ways to other pages."""
    counts: dict[str, str] = {}
    if not asked.query:
        seen = may(request.user, Action.READ_RESULTS)
        counts = _counts(visible, shows_results=seen)
    return {
        "rows": rows,
        "query": asked.query,
        "total": counts.get("", ""),
        "waiting": counts.get("waiting", ""),
        "filtered": bool(asked.filter.key),
        "filters": _chips(asked, counts),
        "sorts": [
            {
                "word": word,
                "url": asked.url(sort="" if sort == Sort.PRIORITY else sort.value),
                "current": sort == asked.sort,
            }
            for sort, word in _SORT_WORDS.items()
        ],
        "order_sentence": _ORDER_SENTENCES[asked.sort],
        "range": _range_words(len(rows)),
        "first_url": asked.url() if asked.after else "",
        "older_url": asked.url(after=found.after.written()) if found.after else "",
        "own_url": asked.url(after=asked.after_value),
        # A search is not repeated by itself: its words may be a patient's name.
        "changes_url": "" if asked.query else _changes_url(asked, found.state),
    }


@require_safe
def changes(request: HttpRequest) -> HttpResponse:
    """Say whether a page of the worklist has changed, and nothing of what it shows."""
    require(request, Action.READ_PATIENTS)
    asked = Asked.of(request)
    visible = keyset.visible_entries(request.user)
    found = keyset.page(asked.entries(visible), sort=asked.sort, after=asked.after)
    answer = HttpResponse(status=204)
    if found.state != request.GET.get("state"):
        answer["HX-Trigger"] = "worklist-changed"
    return answer


def _changes_url(asked: Asked, state: str) -> str:
    return address(
        "worklist-changes",
        {
            "q": asked.query,
            "show": asked.filter.key,
            "sort": asked.sort.value,
            "after": asked.after_value,
            "state": state,
        },
    )


def _counts(visible: Entries, *, shows_results: bool) -> dict[str, str]:
    """Count what each filter would show, of those that the user may choose."""
    return {
        one.key: bounded_count(visible.filter(one.condition()))
        for one in FILTERS
        if shows_results or not one.of_results
    }


def _chips(asked: Asked, counts: dict[str, str]) -> list[dict[str, object]]:
    return [
        {
            "word": one.word,
            "sign": one.sign,
            "url": asked.url(show=one.key, q=""),
            "current": one.key == asked.filter.key and not asked.query,
            "count": counts[one.key],
        }
        for one in FILTERS
        if one.key in counts
    ]


def _range_words(count: int) -> str:
    return "1 study" if count == 1 else f"{count} studies"
