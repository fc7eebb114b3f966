"""A patient's history: all studies that the user may see, the newest first."""

from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import Action, require
from accounts.errors import NotFound
from diagnoses.pages.audit import record_read
from diagnoses.pages.words.identity import flag_sentences, patient_facts
from diagnoses.pages.worklist import keyset
from diagnoses.pages.worklist.keyset import Key, Sort
from diagnoses.pages.worklist.rows import rows_of
from patients.models import Instance, Patient, Study


@require_safe
def history(request: HttpRequest, patient_id: UUID) -> HttpResponse:
    """Show one person and a page of their studies."""
    require(request, Action.READ_PATIENTS)
    patient = Patient.objects.visible_to(request.user).filter(pk=patient_id).first()
    if patient is None:
        raise NotFound("There is no such patient, or none of your departments.")
    after = request.GET.get("after", "")
    entries = keyset.visible_entries(request.user).filter(study__patient=patient)
    found = keyset.page(
        entries, sort=Sort.NEWEST, after=Key.read(after) if after else None
    )
    rows = rows_of(found.keys, user=request.user)
    record_read(
        request,
        object_kind="patient",
        object_uuid=patient.pk,
        patients=[patient.pk],
        detail={"rows": len(rows)},
    )
    studies = Study.objects.visible_to(request.user).filter(patient=patient)
    return render(
        request,
        "patient/page.html",
        {
            "section": "worklist",
            "patient": patient,
            "facts": patient_facts(patient),
            "warnings": _warnings(studies),
            "synthetic": Instance.objects.filter(
                series__study__in=studies, synthetic=True
            ).exists(),
            "rows": rows,
            "older_url": _older_url(patient, found.after),
        },
    )


def _warnings(studies: QuerySet[Study]) -> list[str]:
    """Return what is to be looked at in any of the studies, each sentence once."""
    flagged = studies.exclude(flags=[]).only("flags")
    return sorted({said for study in flagged for said in flag_sentences(study)})


def _older_url(patient: Patient, after: Key | None) -> str:
    if after is None:
        return ""
    asked = urlencode({"after": after.written()})
    return f"{reverse('patient', args=[patient.pk])}?{asked}"
