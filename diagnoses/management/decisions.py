"""Versions and administrators named on the command line."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.utils.translation import gettext

from accounts.access import Action, may
from accounts.models import User
from diagnoses.models import ModelVersion


def installed_version(name: str, version: str = "") -> ModelVersion:
    """Return a version by its number; by default the version installed last.

    Raises:
        CommandError: It is not installed.
    """
    versions = ModelVersion.objects.filter(name=name).order_by("-installed_at")
    if version:
        versions = versions.filter(version=version)
    chosen = versions.first()
    if chosen is None:
        message = gettext("There is no such installed version: %(version)s.")
        raise CommandError(message % {"version": f"{name} {version}".rstrip()})
    return chosen


def version_in_use(name: str, version: str = "") -> ModelVersion:
    """Return a version by its number; by default the active version.

    Raises:
        CommandError: It is not installed.
    """
    active = ModelVersion.objects.filter(name=name, state=ModelVersion.State.ACTIVE)
    in_use = None if version else active.first()
    return in_use or installed_version(name, version)


def administrator(username: str) -> User:
    """Return the user of this name, who must be an administrator.

    Raises:
        CommandError: There is no such user, or the user is not an administrator.
    """
    actor = User.objects.filter(username=username).first()
    if actor is None:
        raise CommandError(gettext("There is no such user."))
    if not may(actor, Action.ADMINISTER):
        raise CommandError(
            gettext("Only an administrator may decide. Name one with --user.")
        )
    return actor
