"""Command line options that change a training recipe."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.utils.translation import gettext

from ml.architectures.build import ARCHITECTURES
from ml.errors import TrainingError
from ml.training.recipes import Distillation, Recipe, Stage, get_recipe
from ml.training.tuning.parameters import read_params, with_params

FOCAL_GAMMA = 2.0
# The networks halve an image five times.
SIZE_STEP = 32


def add_recipe_options(parser: ArgumentParser) -> None:
    """Declare --architecture, --init, --params, --loss and so on."""
    parser.add_argument(
        "--architecture",
        choices=sorted(ARCHITECTURES),
        help=gettext("another network; random initial weights unless --init is given"),
    )
    parser.add_argument(
        "--as-version",
        metavar="VERSION",
        help=gettext("version number of the new model"),
    )
    parser.add_argument(
        "--init",
        metavar="SOURCE",
        help=gettext(
            "random, imagenet, efficientnet-lite0 to -lite2, a .keras file, or "
            "NAME/VERSION of an installed model"
        ),
    )
    parser.add_argument(
        "--teacher",
        metavar="SOURCE",
        help=gettext(
            "learn from the probabilities of an installed model NAME or NAME/VERSION, "
            "or of a .keras file of a pre-training; none: from the labels alone"
        ),
    )
    parser.add_argument(
        "--params",
        type=Path,
        metavar="JSON",
        help=gettext("values that tune_model found"),
    )
    parser.add_argument(
        "--loss",
        choices=("cross-entropy", "focal"),
        default="cross-entropy",
        help=gettext("focal: images that the network is sure of count less"),
    )
    parser.add_argument(
        "--class-weights",
        action="store_true",
        help=gettext(
            "sample images as they are distributed; rare labels weigh more in the loss"
        ),
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=0,
        metavar="EPOCHS",
        help=gettext(
            "stop after this number of epochs without gain on held-out train patients"
        ),
    )
    _add_size_options(parser)


def _add_size_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=int, help=gettext("seed of initial weights and sampling")
    )
    parser.add_argument(
        "--size",
        type=int,
        help=gettext("final image size; earlier phases scale with it"),
    )
    parser.add_argument(
        "--epoch-images", type=int, help=gettext("number of images in an epoch")
    )
    parser.add_argument(
        "--batch-size", type=int, help=gettext("number of images in a step")
    )


def asked_for(name: str, options: dict[str, Any]) -> Recipe:
    """Return the recipe of a model, changed by the options.

    Raises:
        TrainingError: There is no such recipe, the file of --params is not one, or
            another network would take the place of the recipe's own.
    """
    recipe = get_recipe(name, architecture=options["architecture"] or "")
    if options["architecture"]:
        if not options["as_version"]:
            raise TrainingError("Another architecture needs --as-version, too.")
        recipe = replace(recipe, init="random")
    if options["params"]:
        recipe = with_params(recipe, read_params(options["params"]))
    if options["class_weights"]:
        recipe = replace(recipe, class_shares={}, balance=1.0)
    refinements = replace(
        recipe.refinements,
        focal_gamma=FOCAL_GAMMA if options["loss"] == "focal" else 0.0,
        class_weights=options["class_weights"],
        patience=options["patience"],
    )
    init = options["init"] or recipe.init
    return replace(
        recipe,
        version=options["as_version"] or recipe.version,
        init=init,
        # What is random has to learn.
        frozen=() if init == "random" else recipe.frozen,
        distillation=_taught_by(recipe, options["teacher"]),
        seed=recipe.seed if options["seed"] is None else options["seed"],
        epoch_images=options["epoch_images"] or recipe.epoch_images,
        batch_size=options["batch_size"] or recipe.batch_size,
        stages=_at_size(recipe.stages, options["size"]),
        refinements=refinements,
    )


def _taught_by(recipe: Recipe, teacher: str | None) -> Distillation | None:
    if teacher is None:
        return recipe.distillation
    if teacher == "none":
        return None
    return replace(recipe.distillation or Distillation(""), teacher=teacher)


def _at_size(stages: tuple[Stage, ...], size: int | None) -> tuple[Stage, ...]:
    """Return the phases of a run that ends at a size; earlier ones in proportion."""
    last = stages[-1].size

    def scaled(stage: Stage) -> int:
        if not size or stage.size == last:
            return size or stage.size
        return max(1, round(stage.size * size / last / SIZE_STEP)) * SIZE_STEP

    return tuple(replace(stage, size=scaled(stage)) for stage in stages)
