"""Sending a file from a test, as a source does."""

from io import BytesIO
from typing import Any

from accounts.models import User
from patients.identity.submitted import SubmittedIdentity
from patients.ingest import IngestResult, ingest_instance
from patients.models import Upload


def send(
    content: bytes,
    *,
    name: str = "image.dcm",
    source: str = Upload.Source.REST,
    actor: User | None = None,
    requested_model: str = "",
    **submitted_identity: Any,
) -> IngestResult:
    """Send one file; other arguments are what the form says."""
    return ingest_instance(
        BytesIO(content),
        name=name,
        source=source,
        actor=actor,
        submitted_identity=SubmittedIdentity(**submitted_identity),
        requested_model=requested_model,
    )
