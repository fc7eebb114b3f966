"""How each model is trained: everything that decides a run and is not data."""

from __future__ import annotations

from dataclasses import dataclass, field

from ml.augmentation import Augmentation
from ml.errors import TrainingError
from ml.labels import CHESTX6_LABELS, Label


@dataclass(frozen=True)
class Stage:
    """From which share of the run on films are how large."""

    begins: float
    size: int


@dataclass(frozen=True)
class Recipe:
    """One model's architecture, labels and course of training.

    `class_shares` is the share of each label among the films of an epoch, whatever
    the data hold: classes that their source alone gives away are drawn rarely, those
    that are hard within one source often.
    """

    name: str
    version: str
    architecture: str
    labels: tuple[Label, ...]
    class_shares: dict[str, float]
    stages: tuple[Stage, ...]
    epoch_films: int = 4800
    batch_size: int = 32
    peak_learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.03
    label_smoothing: float = 0.05
    held_out_percent: int = 8
    measured_dataset: str = ""
    seed: int = 20260
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels in the order of the logits."""
        return tuple(label.name for label in self.labels)


CHESTX6_RESNET50 = Recipe(
    name="chestx6-resnet50",
    version="1.0.0",
    architecture="resnet50",
    labels=CHESTX6_LABELS,
    class_shares={
        "Normal": 0.24,
        "Bacterial pneumonia": 0.27,
        "Viral pneumonia": 0.27,
        "COVID-19": 0.05,
        "Tuberculosis": 0.08,
        "Emphysema": 0.09,
    },
    stages=(Stage(0.0, 96), Stage(0.72, 128)),
    measured_dataset="kermany",
)

RECIPES = {CHESTX6_RESNET50.name: CHESTX6_RESNET50}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of a model.

    Raises:
        TrainingError: No model of that name is trained here.
    """
    if name not in RECIPES:
        known = ", ".join(sorted(RECIPES))
        raise TrainingError(f"No recipe is called {name!r}; known: {known}.")
    return RECIPES[name]
