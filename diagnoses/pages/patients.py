"""The history of a patient: all studies that the user may see, newest first."""

from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.access import Action, require
from accounts.errors import NotFound
from diagnoses.models import WorklistEntry
from diagnoses.pages.audit import record_read
from diagnoses.pages.request import PageRequest
from diagnoses.pages.words.identity import FLAG_SENTENCES, patient_facts
from diagnoses.pages.worklist.entries import Sort, page, position_of
from diagnoses.pages.worklist.rows import rows_of
from patients.models import Instance, Patient, Study, StudyFlag


@require_safe
def history(request: PageRequest, patient_id: UUID) -> HttpResponse:
    """Show one patient and a page of their studies."""
    require(request, Action.READ_PATIENTS)
    patient = Patient.objects.visible_to(request.user).filter(pk=patient_id).first()
    if patient is None:
        raise NotFound(
            _("This patient does not exist, or belongs to another department.")
        )
    after = position_of(
        request.GET.get("after", ""),
        sort=Sort.NEWEST,
        reader=request.user,
        list_name=str(patient.pk),
    )
    visible = WorklistEntry.objects.visible_to(request.user)
    entries = visible.filter(study__patient=patient)
    shown = page(
        [entries],
        sort=Sort.NEWEST,
        after=after,
        reader=request.user,
        list_name=str(patient.pk),
    )
    rows = rows_of(shown.keys, user=request.user)
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
            "older_url": _older_url(patient, shown.next_cursor),
        },
    )


def _warnings(studies: QuerySet[Study]) -> list[str]:
    """Return the warnings about any of the studies, each sentence once."""
    flags = studies.exclude(flags=[]).values_list("flags", flat=True)
    return sorted(
        {str(FLAG_SENTENCES[StudyFlag(flag)]) for listed in flags for flag in listed}
    )


def _older_url(patient: Patient, cursor: str) -> str:
    if not cursor:
        return ""
    return f"{reverse('patient', args=[patient.pk])}?{urlencode({'after': cursor})}"
