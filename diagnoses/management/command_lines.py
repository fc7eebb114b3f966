"""The command of a run as its card repeats it: what decides it, and no local paths."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from django.conf import settings

# What a run depends on, in this order; where it is written is nobody else's matter.
TOLD = (
    "manifest", "layout", "labels", "root", "epochs", "minutes", "as_version", "init",
    "architecture", "params", "loss", "class_weights", "patience", "seed", "size",
    "epoch_images", "batch_size", "precision",
)  # fmt: skip
USUAL = {"layout": "auto", "loss": "cross-entropy"}


def training_command(options: dict[str, Any]) -> str:
    """Return `manage.py train_model` with the options that were given."""
    words = ["python", "manage.py", "train_model", str(options["name"])]
    for name in TOLD:
        value = options.get(name)
        if value in (None, False, 0, USUAL.get(name)):
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else _local(value))
    return " ".join(
        word if word.startswith('"') else shlex.quote(word) for word in words
    )


def _local(value: object) -> str:
    """Write the folder of the data as the setting that names it."""
    data = settings.CHESTX_DATA
    if isinstance(value, Path) and data and value.is_relative_to(data):
        below = value.relative_to(data).as_posix()
        return '"$CHESTX_DATA"' if below == "." else f'"$CHESTX_DATA/{below}"'
    return str(value)
