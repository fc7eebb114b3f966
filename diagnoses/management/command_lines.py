"""Commands as lists of arguments, as cards keep them: without local paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from ml.cards.texts import PlannedMeasurement

# The options that decide a training run, in this order; where it writes is left out.
DECIDING_OPTIONS = (
    "manifest", "layout", "labels", "root", "epochs", "minutes", "as_version", "init",
    "architecture", "teacher", "params", "loss", "class_weights", "patience", "seed",
    "size", "epoch_images", "batch_size", "precision",
)  # fmt: skip
# The options that decide what a command measures; where it writes is left out.
MEASURING_OPTIONS = (
    "manifest", "layout", "labels", "root", "split", "dataset", "change", "pair",
    "operating_point", "baseline", "json",
)  # fmt: skip
# The options that decide a cross-validation.
TRIAL_OPTIONS = (
    "manifest", "layout", "labels", "root", "head", "datasets", "folds", "leave_out",
    "against_source", "epochs", "size", "variations", "seed",
)  # fmt: skip
DEFAULTS = {
    "layout": "auto", "loss": "cross-entropy", "change": "none", "split": "all",
}  # fmt: skip
DATA_ARGUMENTS = (
    "--manifest", "$CHESTX_DATA/manifest.csv", "--root", "$CHESTX_DATA",
)  # fmt: skip
# Which command measures which part of a card.
MEASURING_COMMANDS = {
    "gate": "evaluate_gate",
    "metrics": "evaluate_model",
    "shortcuts": "evaluate_shortcuts",
    "heat_maps": "evaluate_heat_maps",
    "normals": "flagged_normals",
}


def command_arguments(command: str, *arguments: str) -> list[str]:
    """Return a command of this project with its arguments, as a list."""
    return ["python", "manage.py", command, *arguments]


def measuring_command(
    part: str, name: str, planned: PlannedMeasurement | None = None
) -> list[str]:
    """Return the command that measures a part of a model's card again.

    Args:
        part: One of MEASURING_COMMANDS.
        name: The model.
        planned: Which measurement, for the part "metrics".
    """
    options: list[str] = []
    if part == "metrics":
        options += ["--split", "val"]
    if planned and planned.datasets:
        options += ["--dataset", *planned.datasets]
    if planned and planned.change != "none":
        options += ["--change", planned.change]
    if planned and planned.pair:
        options += ["--pair", ",".join(planned.pair)]
    if planned and planned.baseline:
        options.append("--baseline")
    return command_arguments(
        MEASURING_COMMANDS[part], name, *DATA_ARGUMENTS, *options, "--json"
    )


def training_command(options: dict[str, Any]) -> list[str]:
    """Return `train_model` with the options that were given."""
    return _command_of("train_model", options, DECIDING_OPTIONS)


def evaluation_command(command: str, options: dict[str, Any]) -> list[str]:
    """Return a command that measures a model, with the options that were given."""
    return _command_of(command, options, MEASURING_OPTIONS)


def cross_validation_command(options: dict[str, Any]) -> list[str]:
    """Return `cross_validate` with the options that were given."""
    return _command_of("cross_validate", options, TRIAL_OPTIONS)


def _command_of(
    command: str, options: dict[str, Any], names: Sequence[str]
) -> list[str]:
    arguments = [str(options["name"])]
    for name in names:
        value = options.get(name)
        if value in (None, False, 0, [], DEFAULTS.get(name)):
            continue
        arguments.append("--" + name.replace("_", "-"))
        if isinstance(value, list):
            arguments += value
        elif value is not True:
            arguments.append(
                f"{value:g}" if isinstance(value, float) else _local(value)
            )
    return command_arguments(command, *arguments)


def _local(value: object) -> str:
    """Write the folder of the data as the setting that names it."""
    data = settings.CHESTX_DATA
    if isinstance(value, Path) and data and value.is_relative_to(data):
        below = value.relative_to(data).as_posix()
        return "$CHESTX_DATA" if below == "." else f"$CHESTX_DATA/{below}"
    return str(value)
