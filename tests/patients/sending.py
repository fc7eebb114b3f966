"""Sending a file from a test, as a door does."""

from io import BytesIO
from typing import Any

from accounts.models import User
from patients.identity.submitted import Claims
from patients.ingest import IngestResult, ingest_instance
from patients.models import Upload


def send(
    content: bytes,
    *,
    name: str = "film.dcm",
    door: str = Upload.Door.REST,
    actor: User | None = None,
    requested_model: str = "",
    **claims: Any,
) -> IngestResult:
    """Send one file; other arguments are what the form says."""
    return ingest_instance(
        BytesIO(content),
        name=name,
        door=door,
        actor=actor,
        claims=Claims(**claims),
        requested_model=requested_model,
    )
