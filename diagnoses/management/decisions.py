"""What the commands about models share: which version, and who decides."""

from __future__ import annotations

from django.core.management.base import CommandError

from accounts.access import Action, may
from accounts.models import User
from diagnoses.models import ModelVersion


def installed_version(name: str, version: str = "") -> ModelVersion:
    """Return a version by its number, without one the version installed last.

    Raises:
        CommandError: It is not installed.
    """
    found = ModelVersion.objects.filter(name=name).order_by("-installed_at")
    if version:
        found = found.filter(version=version)
    chosen = found.first()
    if chosen is None:
        raise CommandError(
            f"There is no such installed version: {name} {version}".rstrip() + "."
        )
    return chosen


def version_in_use(name: str, version: str = "") -> ModelVersion:
    """Return a version by its number, without one the active one.

    Raises:
        CommandError: It is not installed.
    """
    active = ModelVersion.objects.filter(name=name, state=ModelVersion.State.ACTIVE)
    in_use = None if version else active.first()
    return in_use or installed_version(name, version)


def administrator(username: str) -> User:
    """Return the administrator who decides.

    Raises:
        CommandError: There is no such user, or they are no administrator.
    """
    actor = User.objects.filter(username=username).first()
    if actor is None:
        raise CommandError("There is no such user.")
    if not may(actor, Action.ADMINISTER):
        raise CommandError("Only an administrator may decide: name one by --user.")
    return actor
