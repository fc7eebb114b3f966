"""The request to import a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportRequest:
    """A network's file, and the properties that the file does not state.

    `size` may be None if the network has a fixed input size, `activation` may be "" if
    the network's last layer shows it.
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
