"""Set and remove flags on studies that a person must check."""

from collections.abc import Iterable

from django.db.models import F, Func, Value

from patients.models import Study, StudyFlag


def flag(studies: Iterable[Study], what: StudyFlag) -> None:
    """Set a flag on studies that do not have it.

    Always in the same order, so that two images that flag the same studies do not
    deadlock.
    """
    unflagged = sorted({study.pk for study in studies if what not in study.flags})
    for key in unflagged:
        Study.objects.filter(pk=key).exclude(flags__contains=[what]).update(
            flags=Func(F("flags"), Value(what.value), function="array_append")
        )
    for study in studies:
        if what not in study.flags:
            study.flags = [*study.flags, what.value]


def unflag(study: Study, what: StudyFlag) -> bool:
    """Remove a flag; return whether it was set."""
    changed = Study.objects.filter(pk=study.pk, flags__contains=[what]).update(
        flags=Func(F("flags"), Value(what.value), function="array_remove")
    )
    study.flags = [other for other in study.flags if other != what]
    return bool(changed)
