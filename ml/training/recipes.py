"""Recipes: all settings of a training run besides its data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ml.errors import TrainingError
from ml.labels import (
    BRAIN_TUMOUR_LABELS,
    CHEST_LABELS,
    CHESTX6_LABELS,
    NIH15_LABELS,
    PNEUMONIA_LABELS,
    TUBERCULOSIS_LABELS,
    Label,
)
from ml.training.samples.augmentation import Augmentation


@dataclass(frozen=True)
class Stage:
    """A part of a run: where it begins, its image size, and which layers learn."""

    begins: float
    size: int
    head_only: bool = False


@dataclass(frozen=True)
class Refinements:
    """Options of a run that no recipe sets itself.

    Attributes:
        dropout: Instead of the architecture's own, where it has a dropout layer.
        focal_gamma: Exponent of the focal loss; 0 is plain cross-entropy.
        class_weights: Whether images of a rare label count more in the loss.
        patience: End after so many epochs without a smaller loss on held-out train
            patients, and keep the best epoch; 0 never.
    """

    dropout: float | None = None
    focal_gamma: float = 0.0
    class_weights: bool = False
    patience: int = 0


@dataclass(frozen=True)
class Distillation:
    """What a run learns from a teacher, see `ml.training.distillation`.

    Attributes:
        teacher: NAME or NAME/VERSION of an installed model, or the `.keras` file of a
            pre-training, named after its recipe.
        share: What the teacher counts in the loss; the labels count the rest.
        temperature: Divides the logits of both: higher ones teach more of what the
            teacher holds unlikely.
    """

    teacher: str
    share: float = 0.6
    temperature: float = 2.0


@dataclass(frozen=True)
class Head:
    """Labels that are learned on a shared network, with a loss of their own.

    Attributes:
        task: "softmax" (one label an image) or "sigmoid" (each label by itself).
        datasets: Sources that are learned from; empty: all that know a label.
        measured_dataset: The source within which metrics mean most.
        weight: What its loss counts in the sum.
    """

    name: str
    labels: tuple[Label, ...]
    task: str = "softmax"
    datasets: tuple[str, ...] = ()
    measured_dataset: str = ""
    weight: float = 1.0

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels in the order of the logits."""
        return tuple(label.name for label in self.labels)


@dataclass(frozen=True)
class Recipe:
    """One model's architecture, labels and course of training.

    Attributes:
        task: "softmax" (one label an image) or "sigmoid" (each label by itself).
        datasets: Sources that are learned from; empty: all that know a label.
        class_shares: Share of each label among the images of an epoch, whatever the
            data hold: classes that their source alone gives away are drawn rarely,
            those that are hard within one source often. Softmax only.
        balance: Without shares, images are drawn by groups of their source and rarest
            label; a group's share is its size to this power: 1 as the data are, 0
            every group alike.
        stages: Image sizes, and phases in which only the head learns.
        init: Where the weights begin, see `ml.training.start.initial_weights`.
        measured_dataset: The source within which metrics mean most.
        trunk_rate: Share of the learning rate for all layers before the heads.
        average_decay: Share of the weights' moving average that stays with each batch,
            see `ml.training.weight_average`; 0: the last weights are kept.
        frozen: Beginnings of the names of layers that keep their first weights and
            statistics. What lies before all that learn costs no backward pass.
        distillation: The teacher, where there is one.
        packaged: Whether it becomes a model, or one for each head; a pre-training does
            not.
        shared_by: Heads that share the network, in the order of their logits; the
            labels of the recipe are theirs, its sources hold for all of them. Empty:
            the recipe is its only head.
    """

    name: str
    version: str
    architecture: str
    labels: tuple[Label, ...]
    stages: tuple[Stage, ...]
    task: str = "softmax"
    datasets: tuple[str, ...] = ()
    class_shares: dict[str, float] = field(default_factory=dict)
    balance: float = 0.5
    epoch_images: int = 4800
    batch_size: int = 32
    peak_learning_rate: float = 1e-3
    trunk_rate: float = 1.0
    weight_decay: float = 0.05
    average_decay: float = 0.0
    warm_up: float = 0.03
    label_smoothing: float = 0.05
    held_out_percent: int = 8
    measured_dataset: str = ""
    seed: int = 20260
    init: str = "random"
    augmentation: Augmentation = field(default_factory=Augmentation)
    frozen: tuple[str, ...] = ()
    distillation: Distillation | None = None
    packaged: bool = True
    shared_by: tuple[Head, ...] = ()
    refinements: Refinements = field(default_factory=Refinements)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels in the order of the logits."""
        return tuple(label.name for label in self.labels)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads of the network: itself, or those that share it."""
        own = Head(
            name=self.name,
            labels=self.labels,
            task=self.task,
            datasets=self.datasets,
            measured_dataset=self.measured_dataset,
        )
        return self.shared_by or (own,)


# rsna-normal is left out: its terms allow research only.
CHEST_SOURCES = ("kermany", "nih", "nih-emphysema", "hannover", "tb", "sakha-tb")
_CHEST_AUGMENTATION = Augmentation(
    lung_crop_probability=0.5, lungs_only_probability=0.1, mixing=0.2
)

CHESTX6_RESNET50 = Recipe(
    name="chestx6-resnet50",
    version="1.3.0",
    architecture="resnet50",
    labels=CHESTX6_LABELS,
    datasets=CHEST_SOURCES,
    class_shares={
        "Normal": 0.24,
        "Bacterial pneumonia": 0.29,
        "Viral pneumonia": 0.29,
        "COVID-19": 0.04,
        "Tuberculosis": 0.07,
        "Emphysema": 0.07,
    },
    stages=(Stage(0.0, 128), Stage(0.5, 160)),
    epoch_images=2400,
    peak_learning_rate=6e-4,
    average_decay=0.99,
    init="chestx6-resnet50/1.2.0",
    frozen=("stem", "stage1", "stage2"),
    distillation=Distillation("chest-efficientnet-chestx6/1.0.0"),
    measured_dataset="kermany",
    augmentation=_CHEST_AUGMENTATION,
)

TUBERCULOSIS_RESNET50 = Recipe(
    name="tuberculosis-resnet50",
    version="1.0.0",
    architecture="resnet50",
    labels=TUBERCULOSIS_LABELS,
    task="sigmoid",
    datasets=("tb", "nih", "kermany"),
    stages=(Stage(0.0, 128, head_only=True), Stage(0.2, 128)),
    epoch_images=1600,
    peak_learning_rate=3e-4,
    init="chestx6-resnet50/1.2.0",
)

PNEUMONIA_CNN = Recipe(
    name="pneumonia-cnn",
    version="1.0.0",
    architecture="normalised-cnn",
    labels=PNEUMONIA_LABELS,
    task="sigmoid",
    datasets=("kermany",),
    stages=(Stage(0.0, 96), Stage(0.5, 128)),
    peak_learning_rate=3e-3,
    measured_dataset="kermany",
)

CHEST_XCEPTION = Recipe(
    name="chest-xception",
    version="0",
    architecture="xception",
    labels=CHEST_LABELS,
    task="sigmoid",
    datasets=CHEST_SOURCES,
    balance=0.6,
    stages=(Stage(0.0, 96), Stage(0.7, 128)),
    peak_learning_rate=1.5e-3,
    held_out_percent=12,
    packaged=False,
)

NIH15_XCEPTION = Recipe(
    name="nih15-xception",
    version="1.1.0",
    architecture="xception",
    labels=NIH15_LABELS,
    task="sigmoid",
    datasets=("nih", "nih-emphysema"),
    balance=0.7,
    stages=(Stage(0.0, 128), Stage(0.5, 160)),
    epoch_images=2000,
    peak_learning_rate=8e-4,
    average_decay=0.99,
    init="nih15-xception/1.0.0",
    frozen=("stem", "entry1", "entry2"),
    distillation=Distillation("chest-efficientnet-nih/1.0.0"),
    measured_dataset="nih-emphysema",
    augmentation=_CHEST_AUGMENTATION,
)

NIH15_CNN = Recipe(
    name="nih15-cnn",
    version="1.0.0",
    architecture="small-cnn",
    labels=NIH15_LABELS,
    task="sigmoid",
    datasets=("nih", "nih-emphysema"),
    balance=0.7,
    stages=(Stage(0.0, 128),),
    epoch_images=4000,
    peak_learning_rate=1e-3,
    held_out_percent=12,
    measured_dataset="nih-emphysema",
)

# Slices of three planes: either side may be left. No lungs, no shortcut by letters.
_BRAIN_AUGMENTATION = Augmentation(
    smallest_area=0.6,
    rotation_degrees=15.0,
    border_probability=0.15,
    mirror_probability=0.5,
    mixing=0.2,
)
_BRAIN_SHARES = {
    "Glioma": 0.30,
    "Meningioma": 0.31,
    "Pituitary tumour": 0.27,
    "No tumour": 0.12,
}
# Slices without a tumour come from another source: without the label every slice would
# be called a tumour; with it, nothing can be claimed for it.
_BRAIN_SOURCES = ("cheng-mri", "brain-mri")

BRAIN_EFFICIENTNET = Recipe(
    name="brain-efficientnet",
    version="0",
    architecture="efficientnet-lite0",
    labels=BRAIN_TUMOUR_LABELS,
    datasets=_BRAIN_SOURCES,
    class_shares=_BRAIN_SHARES,
    stages=(Stage(0.0, 160), Stage(0.6, 192)),
    epoch_images=2400,
    trunk_rate=0.3,
    average_decay=0.99,
    init="efficientnet-lite0",
    measured_dataset="cheng-mri",
    augmentation=_BRAIN_AUGMENTATION,
    packaged=False,
)

# It does not begin from its version 1.1.0, which has seen what is val now.
BRAIN_TUMOUR_XCEPTION = Recipe(
    name="brain-tumour-xception",
    version="1.2.0",
    architecture="xception",
    labels=BRAIN_TUMOUR_LABELS,
    datasets=_BRAIN_SOURCES,
    class_shares=_BRAIN_SHARES,
    stages=(Stage(0.0, 128), Stage(0.5, 160)),
    epoch_images=2000,
    peak_learning_rate=1e-3,
    average_decay=0.99,
    init="nih15-xception/1.0.0",
    frozen=("stem",),
    distillation=Distillation(
        "var/training/brain-efficientnet/brain-efficientnet.keras"
    ),
    measured_dataset="cheng-mri",
    augmentation=_BRAIN_AUGMENTATION,
)

_CHEST_HEADS = (
    Head(
        name="chestx6",
        labels=CHESTX6_LABELS,
        measured_dataset="kermany",
    ),
    Head(
        name="pneumonia",
        labels=PNEUMONIA_LABELS,
        task="sigmoid",
        datasets=("kermany", "nih"),
        measured_dataset="nih",
        weight=0.5,
    ),
    Head(
        name="tuberculosis",
        labels=TUBERCULOSIS_LABELS,
        task="sigmoid",
        datasets=("sakha-tb", "nih"),
        measured_dataset="sakha-tb",
        weight=0.5,
    ),
    Head(
        name="nih",
        labels=NIH15_LABELS,
        task="sigmoid",
        datasets=("nih", "nih-emphysema"),
        measured_dataset="nih-emphysema",
    ),
)

CHEST_EFFICIENTNET = Recipe(
    name="chest-efficientnet",
    version="1.0.0",
    architecture="efficientnet-lite0",
    labels=tuple(label for head in _CHEST_HEADS for label in head.labels),
    shared_by=_CHEST_HEADS,
    datasets=CHEST_SOURCES,
    balance=0.6,
    stages=(Stage(0.0, 160), Stage(0.4, 192), Stage(0.75, 224)),
    epoch_images=4800,
    peak_learning_rate=1e-3,
    trunk_rate=0.3,
    average_decay=0.995,
    init="efficientnet-lite0",
    augmentation=_CHEST_AUGMENTATION,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        CHEST_EFFICIENTNET,
        CHESTX6_RESNET50,
        TUBERCULOSIS_RESNET50,
        PNEUMONIA_CNN,
        CHEST_XCEPTION,
        NIH15_XCEPTION,
        NIH15_CNN,
        BRAIN_EFFICIENTNET,
        BRAIN_TUMOUR_XCEPTION,
    )
}


def get_recipe(name: str, *, architecture: str = "") -> Recipe:
    """Return the recipe of a model, with another architecture where one is given.

    Raises:
        TrainingError: No model of that name is trained here.
    """
    if name not in RECIPES:
        raise TrainingError(
            "There is no recipe %(name)s; known: %(known)s.",
            params={"name": name, "known": ", ".join(sorted(RECIPES))},
        )
    recipe = RECIPES[name]
    return replace(recipe, architecture=architecture) if architecture else recipe
