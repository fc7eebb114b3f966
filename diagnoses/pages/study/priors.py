"""The earlier studies of a patient, listed beside the image."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from accounts.access import Action, may
from accounts.models import User
from diagnoses.pages.words.times import study_order
from diagnoses.pages.worklist.rows import Row, rows_of
from patients.models import Instance, Origin, Study

SHOWN = 4
THUMBNAIL_SIZE = 96


@dataclass(frozen=True)
class EarlierStudy:
    """One line: a thumbnail, the study and its result."""

    url: str
    study: str
    result: str
    flags: Sequence[str]
    thumbnail_url: str


def earlier_studies(study: Study, *, user: User) -> list[EarlierStudy]:
    """Return the latest studies of the same patient that were made before this one."""
    others = (
        Study.objects.visible_to(user)
        .filter(patient=study.patient_id)
        .exclude(pk=study.pk)
        .only("study_date", "study_time", "timezone_offset", "received_at")
    )
    earlier = [other for other in others if study_order(other) < study_order(study)]
    earlier.sort(key=study_order, reverse=True)
    keys = [other.pk for other in earlier[:SHOWN]]
    images = dict(
        Instance.objects.filter(
            series__study__in=keys, origin=Origin.RECEIVED, rows__isnull=False
        )
        .order_by("series__study_id", "series__series_number", "instance_number", "pk")
        .distinct("series__study_id")
        .values_list("series__study_id", "pk")
    )
    shows_images = may(user, Action.READ_IMAGES)
    return [
        EarlierStudy(
            url=row.url,
            study=row.study,
            result=_result(row),
            flags=row.flags,
            thumbnail_url=_thumbnail_url(images[key])
            if shows_images and key in images
            else "",
        )
        for key, row in zip(keys, rows_of(keys, user=user), strict=True)
    ]


def _result(row: Row) -> str:
    return row.result or str(row.status.word)


def _thumbnail_url(instance_key: object) -> str:
    return f"{reverse('image', args=[instance_key, 0])}?size={THUMBNAIL_SIZE}"
