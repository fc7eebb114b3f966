"""Every page of every role, and the states that a page can be in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.test import Client

from accounts.models import Role, User
from diagnoses.models import ModelVersion
from patients.models import Priority
from patients.phantom.drawing import draw_chest
from tests.clients import person
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json, stored_image
from tests.diagnoses.pages.page_rows import (
    failed,
    read,
    rejected,
    waiting,
)
from tests.factories import ModelVersionFactory, StudyFactory, UserFactory
from tests.routes import Record, make_record, routes

# Addresses of other states of a page than the plain one.
OTHER_STATES = (
    "/?sort=newest",
    "/?show=stat",
    "/?q=nobody-of-this-name",
    "/?q=MRN-",
    f"/models/compare/?first={DEFAULT_MODEL}@1&second=shadow-model@1",
    "/admin/patients/patient/?q=nobody-of-this-name",
    "/no-such-page/",
)


@dataclass(frozen=True)
class FilledSite:
    """A record with a row of every kind, and studies in every state."""

    record: Record
    states: dict[str, str]

    @classmethod
    def make(cls) -> FilledSite:
        """Fill the database."""
        card = card_json() | {"limits": ["Not for children."]}
        ModelVersionFactory(name=DEFAULT_MODEL, card=card)
        ModelVersionFactory(
            name="shadow-model",
            card=card | {"name": "shadow-model"},
            state=ModelVersion.State.SHADOW,
        )
        record = make_record(UserFactory(role=Role.ADMIN))
        images = {
            state: stored_image(
                # Twelve bits, as drawn, in sixteen.
                draw_chest(seed, size=512) << 4,
                rows=512,
                columns=512,
                series__study=StudyFactory(
                    flags=["demographics_mismatch"], priority=Priority.STAT
                ),
            )
            for seed, state in enumerate(
                ("read", "waiting", "failed", "rejected", "without model")
            )
        }
        read(images["read"], Tuberculosis=0.9, Bacterial_pneumonia=0.4)
        waiting(images["waiting"])
        failed(images["failed"])
        rejected(images["rejected"], "rotated", "")
        return cls(
            record,
            {
                f"/studies/{image.series.study_id}/": f"study {state}"
                for state, image in images.items()
            },
        )

    def addresses(self, client: Client) -> Iterator[tuple[str, str]]:
        """Yield the name and the address of each page that a client gets."""
        paths = {
            **{route.path: route.name for route in routes(self.record)},
            **self.states,
            **{address: address for address in OTHER_STATES},
        }
        client.raise_request_exception = False
        refusals: set[bytes] = set()
        for path, name in paths.items():
            answer = client.get(path)
            content = b"" if answer.streaming else answer.content
            answer.close()
            # A fragment is part of the page that loads it.
            if 300 <= answer.status_code < 400 or b"<html" not in content[:300]:
                continue
            if answer.status_code >= 400:
                # Many addresses are refused in the same words.
                if content in refusals:
                    continue
                refusals.add(content)
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
