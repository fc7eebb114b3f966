"""The worklist: the studies to read, the most urgent first."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from accounts.access import Action, lacks_department, may, require
from accounts.audit import AuditAction
from accounts.keyset import Position
from accounts.models import User
from diagnoses.models import WorklistEntry
from diagnoses.models import WorklistEntryQuerySet as Entries
from diagnoses.pages.audit import record_read
from diagnoses.pages.request import PageRequest
from diagnoses.pages.worklist.entries import (
    ENTRIES_LOOKED_AT,
    Page,
    Sort,
    found_page,
    page,
    position_of,
)
from diagnoses.pages.worklist.filters import (
    FILTERS,
    BoundedCount,
    Filter,
    bounded_count,
    filter_of,
)
from diagnoses.pages.worklist.rows import Row, rows_of
from diagnoses.worker.sweeper import analysis_delay
from patients.search import LONGEST_QUERY

_SORT_WORDS = {Sort.PRIORITY: _("Priority"), Sort.NEWEST: _("Newest")}
_ORDER_SENTENCES = {
    Sort.PRIORITY: _("Sorted by priority, then longest waiting first"),
    Sort.NEWEST: _("Sorted by time of receipt, newest first"),
}
# What the cursors of these pages belong to.
LIST_NAME = "worklist"


@dataclass(frozen=True)
class ListParameters:
    """The parameters in the address of the page."""

    query: str
    filter: Filter
    sort: Sort
    after: Position | None
    cursor: str

    @classmethod
    def of(cls, request: PageRequest, *, searches: bool) -> "ListParameters":
        """Read the address.

        Args:
            request: The request.
            searches: Whether search words are used. They are only where the request
                leaves an event.

        Raises:
            InvalidInput: The page does not exist.
        """
        parameters = request.GET
        chosen = filter_of(parameters.get("show", ""))
        if chosen.of_results and not may(request.user, Action.READ_RESULTS):
            chosen = FILTERS[0]
        words = parameters.get("q", "") if searches else ""
        query = words.replace("\x00", "").strip()[:LONGEST_QUERY]
        # A search is for looking something up: the newest study is the likely one.
        newest = bool(query) or parameters.get("sort") == Sort.NEWEST
        sort = Sort.NEWEST if newest else Sort.PRIORITY
        cursor = parameters.get("after", "")
        return cls(
            query=query,
            filter=chosen,
            sort=sort,
            after=position_of(
                cursor, sort=sort, reader=request.user, list_name=LIST_NAME
            ),
            cursor=cursor,
        )

    def page(self, visible: Sequence[Entries], *, reader: User) -> Page:
        """Return the page of the entries that match the search or the filter."""
        if self.query:
            return found_page(
                visible,
                self.query,
                after=self.after,
                reader=reader,
                list_name=LIST_NAME,
            )
        return page(
            [part.filter(self.filter.condition()) for part in visible],
            sort=self.sort,
            after=self.after,
            reader=reader,
            list_name=LIST_NAME,
        )

    def url(self, **changed: str) -> str:
        """Return the address of the first page with these parameters changed."""
        parameters = {
            "q": self.query,
            "show": self.filter.key,
            "sort": self._sort_value,
        }
        return address("worklist", parameters | changed)

    @property
    def _sort_value(self) -> str:
        return "" if self.sort == Sort.PRIORITY else self.sort.value


def address(name: str, parameters: dict[str, str]) -> str:
    """Return the address of a page with those parameters that are not empty."""
    query = urlencode({key: value for key, value in parameters.items() if value})
    return reverse(name) + (f"?{query}" if query else "")


@require_safe
def worklist(request: PageRequest) -> HttpResponse:
    """Show one page of the worklist or of search results."""
    if not may(request.user, Action.READ_PATIENTS):
        # Users who work with models only start there after signing in.
        require(request, Action.READ_MODELS)
        return redirect("models")
    parameters = ListParameters.of(request, searches=True)
    visible = WorklistEntry.objects.visible_parts(request.user)
    shown = parameters.page(visible, reader=request.user)
    rows = rows_of(shown.keys, user=request.user)
    record_read(
        request,
        object_kind="study",
        patients={row.patient_key for row in rows},
        action=AuditAction.SEARCH if parameters.query else AuditAction.LIST,
        # Never the search words: they may be a patient's name.
        detail={
            "rows": len(rows),
            "show": parameters.filter.key,
            "sort": parameters.sort.value,
        },
    )
    template = "worklist/list.html" if request.htmx else "worklist/page.html"
    return render(
        request,
        template,
        {
            "page": _page_context(request, parameters, visible, shown, rows),
            "query": parameters.query,
            "section": "worklist",
            "analysis_delay": analysis_delay(),
        },
    )


def _page_context(
    request: PageRequest,
    parameters: ListParameters,
    visible: Sequence[Entries],
    shown: Page,
    rows: list[Row],
) -> dict[str, object]:
    """Return the rows, the counts and filters, and the links to other pages."""
    counts: dict[str, BoundedCount] = {}
    if not parameters.query:
        shows_results = may(request.user, Action.READ_RESULTS)
        counts = _counts(visible, shows_results=shows_results)
    return {
        "rows": rows,
        "query": parameters.query,
        "without_department": not rows and lacks_department(request.user),
        "counts": _count_texts(counts),
        "filtered": bool(parameters.filter.key),
        "filters": _chips(parameters, counts),
        "sorts": [
            {
                "word": word,
                "url": parameters.url(sort="" if sort == Sort.PRIORITY else sort.value),
                "current": sort == parameters.sort,
            }
            for sort, word in _SORT_WORDS.items()
        ],
        "order_sentence": _ORDER_SENTENCES[parameters.sort],
        "looked_at": ENTRIES_LOOKED_AT if shown.partial else 0,
        "first_url": parameters.url() if parameters.after else "",
        "older_url": (
            parameters.url(after=shown.next_cursor) if shown.next_cursor else ""
        ),
        "own_url": parameters.url(after=parameters.cursor),
        # A search is not polled: its words may be a patient's name.
        "changes_url": (
            "" if parameters.query else _changes_url(parameters, shown.state)
        ),
    }


@require_safe
def changes(request: PageRequest) -> HttpResponse:
    """Answer whether a page of the worklist has changed, without patient data.

    This leaves no event, so it does not search.
    """
    require(request, Action.READ_PATIENTS)
    parameters = ListParameters.of(request, searches=False)
    visible = WorklistEntry.objects.visible_parts(request.user)
    shown = parameters.page(visible, reader=request.user)
    answer = HttpResponse(status=204)
    if shown.state != request.GET.get("state"):
        answer["HX-Trigger"] = "worklist-changed"
    return answer


def _changes_url(parameters: ListParameters, state: str) -> str:
    return address(
        "worklist-changes",
        {
            "show": parameters.filter.key,
            "sort": parameters.sort.value,
            "after": parameters.cursor,
            "state": state,
        },
    )


def _counts(
    visible: Sequence[Entries], *, shows_results: bool
) -> dict[str, BoundedCount]:
    """Count the studies of each filter that the user may choose."""
    return {
        one.key: bounded_count([part.filter(one.condition()) for part in visible])
        for one in FILTERS
        if shows_results or not one.of_results
    }


def _count_texts(counts: dict[str, BoundedCount]) -> list[str]:
    texts = []
    if "" in counts:
        total = counts[""]
        text = ngettext("%(count)s study", "%(count)s studies", total.number)
        texts.append(text % {"count": total})
    if "waiting" in counts and counts["waiting"].number:
        waiting = counts["waiting"]
        text = ngettext(
            "%(count)s waiting for analysis",
            "%(count)s waiting for analysis",
            waiting.number,
        )
        texts.append(text % {"count": waiting})
    return texts


def _chips(
    parameters: ListParameters, counts: dict[str, BoundedCount]
) -> list[dict[str, object]]:
    return [
        {
            "key": one.key,
            "word": one.word,
            "sign": one.sign,
            "url": parameters.url(show=one.key, q=""),
            "current": one.key == parameters.filter.key and not parameters.query,
            "count": str(counts[one.key]),
        }
        for one in FILTERS
        if one.key in counts
    ]
