"""Every page of every role, and the states that a page can be in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.test import Client

from accounts.models import Role, User
from diagnoses.models import ModelVersion
from tests.clients import person
from tests.diagnoses.fakes import card_json
from tests.diagnoses.pages.page_rows import (
    failed,
    read,
    rejected,
    study_with_image,
    waiting,
)
from tests.factories import ModelVersionFactory, UserFactory
from tests.routes import Record, make_record, routes

# Addresses of other states of a page than the plain one.
OTHER_STATES = (
    "/?sort=newest",
    "/?show=stat",
    "/?q=nobody-of-this-name",
    "/?q=MRN-",
    "/models/compare/?first=chestx6-resnet50@1&second=shadow-model@1",
    "/admin/patients/patient/?q=nobody-of-this-name",
    "/no-such-page/",
)


@dataclass(frozen=True)
class FilledSite:
    """A record with a row of every kind, and studies in every state."""

    record: Record
    states: tuple[str, ...]

    @classmethod
    def make(cls) -> FilledSite:
        """Fill the database."""
        card = card_json() | {"limits": ["Not for children."]}
        ModelVersionFactory(name="chestx6-resnet50", card=card)
        ModelVersionFactory(
            name="shadow-model",
            card=card | {"name": "shadow-model"},
            state=ModelVersion.State.SHADOW,
        )
        record = make_record(UserFactory(role=Role.ADMIN))
        images = [
            study_with_image(flags=["demographics_mismatch"], priority=2)
            for _ in range(5)
        ]
        read(images[0], Tuberculosis=0.9)
        waiting(images[1])
        failed(images[2])
        rejected(images[3], "rotated", "")
        return cls(
            record,
            tuple(f"/studies/{image.series.study_id}/" for image in images),
        )

    def addresses(self, client: Client) -> Iterator[tuple[str, str]]:
        """Yield the name and the address of each page that a client gets."""
        paths = {
            **{route.path: route.name for route in routes(self.record)},
            **{address: address for address in (*self.states, *OTHER_STATES)},
        }
        client.raise_request_exception = False
        for path, name in paths.items():
            answer = client.get(path)
            content = b"" if answer.streaming else answer.content
            answer.close()
            # A fragment is part of the page that loads it.
            if not 300 <= answer.status_code < 400 and b"<html" in content[:300]:
                yield name, path


def people(record: Record) -> dict[str, Client]:
    """Return a client of each role, a user without a department, and a stranger."""
    roles = {role.value: person(role) for role in Role if role != Role.ADMIN}
    lost: User = UserFactory(role=Role.RADIOLOGIST)
    lost.departments.clear()
    User.objects.filter(pk=lost.pk).update(primary_department=None)
    return {
        "signed out": Client(),
        **roles,
        "without department": person(user=lost),
        Role.ADMIN.value: person(user=record.user),
    }
