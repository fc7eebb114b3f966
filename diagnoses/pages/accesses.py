"""Who saw a patient: the audit trail of one patient, for auditors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.access import Action, require
from accounts.audit import AuditAction, value_name
from accounts.errors import InvalidInput
from accounts.keyset import CursorError, Ordering, Position
from accounts.models import AuditEvent, AuditSubject, User
from diagnoses.pages.audit import record_read
from diagnoses.pages.request import PageRequest
from diagnoses.pages.words.identity import patient_facts, patient_line
from patients.models import Patient
from patients.search import LONGEST_QUERY, patients_found

PATIENTS_A_PAGE = 50
EVENTS_A_PAGE = 100
_NEWEST_FIRST = Ordering.of(AuditSubject, ("-event__at", "-pk"))
_OPENINGS = (AuditAction.VIEW, AuditAction.EXPORT)
_LISTS = (AuditAction.LIST, AuditAction.SEARCH)


@dataclass(frozen=True)
class Kind:
    """A kind of events that can be chosen."""

    key: str
    word: Promise
    condition: Q


KINDS = (
    # Who opened a page, an image or a file of the patient, apart from the lists, where
    # the patient was one of fifty.
    Kind("", _("Opened"), Q(event__action__in=_OPENINGS)),
    Kind("lists", _("Lists and searches"), Q(event__action__in=_LISTS)),
    Kind(
        "changes",
        _("Uploads and changes"),
        ~Q(event__action__in=(*_OPENINGS, *_LISTS)),
    ),
)


@dataclass(frozen=True)
class Access:
    """The texts of one event."""

    event: AuditEvent
    person: str
    action: str
    kind: str
    source: str


@require_safe
def search(request: PageRequest) -> HttpResponse:
    """Find the patient whose accesses are asked for, by name, MRN or key."""
    require(request, Action.READ_AUDIT)
    query = request.GET.get("q", "").strip()[:LONGEST_QUERY]
    key = _as_key(query)
    if key is not None:
        return redirect("accesses-of-patient", key)
    # One more than is shown tells whether there are more.
    found: list[Patient] = []
    very_many = False
    if query:
        matching = patients_found(query)
        very_many = matching.more
        patients = Patient.objects.filter(matching.of("pk"))
        found = list(patients.order_by("name_folded", "pk")[: PATIENTS_A_PAGE + 1])
        record_read(
            request,
            object_kind="patient",
            patients=[patient.pk for patient in found[:PATIENTS_A_PAGE]],
            action=AuditAction.SEARCH,
            # Never the search words: they may be a patient's name.
            detail={"rows": len(found[:PATIENTS_A_PAGE])},
        )
    return render(
        request,
        "accesses/search.html",
        {
            "section": "accesses",
            "sought": query,
            "rows": [(one, patient_line(one)) for one in found[:PATIENTS_A_PAGE]],
            "more": very_many or len(found) > PATIENTS_A_PAGE,
        },
    )


@require_safe
def of_patient(request: PageRequest, patient_id: UUID) -> HttpResponse:
    """Show who opened, listed or changed a patient; also of an erased one."""
    require(request, Action.READ_AUDIT)
    kinds = {kind.key: kind for kind in KINDS}
    chosen = kinds.get(request.GET.get("show", ""), KINDS[0])
    list_name = f"{patient_id} {chosen.key}"
    after = _position(request, list_name)
    subjects = AuditSubject.objects.filter(chosen.condition, patient_uuid=patient_id)
    read = _NEWEST_FIRST.rows(
        subjects.select_related("event"), after, limit=EVENTS_A_PAGE + 1
    )
    shown = read[:EVENTS_A_PAGE]
    older = ""
    if len(read) > EVENTS_A_PAGE:
        older = _NEWEST_FIRST.cursor(
            shown[-1], reader=request.user, list_name=list_name
        )
    patient = Patient.objects.filter(pk=patient_id).first()
    record_read(
        request,
        object_kind="audit_event",
        patients=[patient_id],
        detail={"rows": len(shown), "show": chosen.key},
    )
    return render(
        request,
        "accesses/patient.html",
        {
            "section": "accesses",
            "patient": patient,
            "patient_key": patient_id,
            "facts": patient_facts(patient) if patient else [],
            "kinds": [
                {
                    "word": kind.word,
                    "url": _url(patient_id, kind),
                    "current": kind == chosen,
                }
                for kind in KINDS
            ],
            "accesses": _accesses([subject.event for subject in shown]),
            "older_url": _url(patient_id, chosen, after=older) if older else "",
        },
    )


def _accesses(events: Sequence[AuditEvent]) -> list[Access]:
    """Return the texts of events, with one query for the names of the users."""
    names = _names({event.actor_uuid for event in events if event.actor_uuid})
    return [
        Access(
            event,
            person=names.get(event.actor_uuid, "") if event.actor_uuid else "",
            action=value_name("action", event.action),
            kind=value_name("object_kind", event.object_kind),
            source=value_name("source", event.source),
        )
        for event in events
    ]


def _names(keys: set[UUID]) -> Mapping[UUID, str]:
    return {
        user.pk: f"{user.get_full_name()} · {user.get_role_display()}".removeprefix(
            " · "
        )
        for user in User.objects.filter(pk__in=keys)
    }


def _position(request: PageRequest, list_name: str) -> Position | None:
    cursor = request.GET.get("after", "")
    if not cursor:
        return None
    try:
        return _NEWEST_FIRST.position(cursor, reader=request.user, list_name=list_name)
    except CursorError as error:
        raise InvalidInput(
            _("This page of the list does not exist. Start at the first page."),
            reason_code="invalid_cursor",
        ) from error


def _url(patient_id: UUID, kind: Kind, *, after: str = "") -> str:
    given = {"show": kind.key, "after": after}
    query = urlencode({name: value for name, value in given.items() if value})
    path = reverse("accesses-of-patient", args=[patient_id])
    return f"{path}?{query}" if query else path


def _as_key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
