"""What a user asks for who imports a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportRequest:
    """What a user says of the file; what the network itself says is found out.

    `size` may be None where the network says it, `activation` "" where it shows.
    """

    file: Path
    labels: tuple[str, ...]
    name: str
    version: str = "1.0.0"
    task: str = "softmax"
    size: int | None = None
    scaling: str = "0-255"
    activation: str = ""
    modalities: tuple[str, ...] = ("CR", "DX", "RG")
    body_parts: tuple[str, ...] = ("CHEST",)
