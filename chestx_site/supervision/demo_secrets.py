"""Secrets of the demo, stored in files that only their owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def kept_secret(file: Path, *, given: str | None = None, random_bytes: int = 32) -> str:
    """Return the secret in a file; create a random one the first time.

    Args:
        file: The file of the secret.
        given: Replaces the stored secret.
        random_bytes: Number of random bytes of a new secret.
    """
    kept = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    secret = given or kept or secrets.token_urlsafe(random_bytes)
    if secret != kept:
        unfinished = file.with_name(f"{file.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            target.write(secret)
        unfinished.replace(file)
    return secret
