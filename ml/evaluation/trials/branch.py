"""Train the later stages of a network on the kept outputs of its trunk.

Three ways: plain; adversarial, where a second head guesses the source and the features
are trained against it (Ganin et al. 2016, arXiv:1505.07818); and group-DRO, where the
source with the largest loss counts most (Sagawa et al. 2020, arXiv:1911.08731).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ml.datasets.ground_truth import GroundTruth
from ml.errors import TrainingError
from ml.evaluation.trials.trunk import Shortened, SplitNetwork
from ml.training.compile import HEAD_LAYER, optimizer_of
from ml.training.losses import loss_of
from ml.training.recipes import Recipe
from ml.training.run import image_groups, targets_of
from ml.training.samples.sequences import evenly_drawn

PLAIN, ADVERSARIAL, GROUP_DRO = "plain", "adversarial", "group-dro"
METHODS = (PLAIN, ADVERSARIAL, GROUP_DRO)
WARM_UP = 0.05
# Of an image, how often it may be drawn in an epoch.
MOST_DRAWS = 4
# How fast the weights of group-DRO follow the losses.
GROUP_STEP = 0.05

Loss = Callable[[Any, Any], Any]


class Features:
    """Kept outputs of the trunk for the images of a trial, by path."""

    def __init__(self) -> None:
        self._of: dict[str, np.ndarray] = {}

    def add(self, paths: list[str], features: np.ndarray) -> None:
        """Take the outputs (images, 1 + variations, …) of these images."""
        self._of.update(zip(paths, features, strict=True))

    def plain(self, paths: list[str]) -> np.ndarray:
        """Return float32 outputs of the plain images."""
        return np.stack([self._of[path][0] for path in paths]).astype(np.float32)

    def varied(self, paths: list[str], rng: np.random.Generator) -> np.ndarray:
        """Return float32 outputs of a variation of each image."""
        chosen = [self._of[path] for path in paths]
        drawn = [each[rng.integers(1, len(each))] for each in chosen]
        return np.stack(drawn).astype(np.float32)


class _Batches(keras.utils.PyDataset):
    """Batches of a whole training, in one epoch of Keras."""

    def __init__(
        self,
        features: Features,
        paths: list[str],
        targets: np.ndarray,
        *,
        indices: np.ndarray,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.features, self.paths, self.targets = features, paths, targets
        self.indices, self.batch_size, self.seed = indices, batch_size, seed

    def __len__(self) -> int:
        return max(1, len(self.indices) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        start = batch * self.batch_size
        chosen = self.indices[start : start + self.batch_size]
        rng = np.random.default_rng((self.seed, batch))
        paths = [self.paths[i] for i in chosen]
        return self.features.varied(paths, rng), self.targets[chosen]


def train_branch(
    network: SplitNetwork,
    recipe: Recipe,
    train: GroundTruth,
    features: Features,
    *,
    method: str,
    settings: Shortened,
) -> keras.Model:
    """Train the branch from its first weights, in place; return it.

    Raises:
        TrainingError: There is one source, and nothing to train against.
    """
    network.branch.set_weights(network.start)
    sources = sorted({row.dataset for row in train.rows})
    if method != PLAIN and len(sources) < 2:
        raise TrainingError(
            "Training against the source needs two sources or more; here is only "
            "%(source)s.",
            params={"source": sources[0]},
        )
    targets = targets_of(train)
    belongs = np.array(
        [[row.dataset == name for name in sources] for row in train.rows]
    )
    loss = loss_of(recipe, train)
    outputs = network.branch.outputs[0]
    callbacks: list[keras.callbacks.Callback] = []
    batches = _Batches(
        features,
        [row.path for row in train.rows],
        np.concatenate([targets, belongs], axis=1, dtype=np.float32),
        indices=_drawn(recipe, train, settings),
        batch_size=recipe.batch_size,
        seed=settings.seed,
    )
    if method == ADVERSARIAL:
        strength = keras.Variable(0.0, trainable=False)
        outputs = _with_source_head(network.branch, len(sources), strength)
        callbacks.append(_rising(strength, len(batches)))
    keras.utils.set_random_seed(settings.seed)
    learner = keras.Model(network.branch.inputs, outputs)
    learner.compile(
        optimizer=optimizer_of(recipe, _rates(recipe, len(batches))),
        loss=_loss(method, loss, len(recipe.labels), len(sources)),
        jit_compile=False,
    )
    learner.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks)
    return network.branch


def _drawn(recipe: Recipe, train: GroundTruth, settings: Shortened) -> np.ndarray:
    """Return the images of all epochs in order, balanced by source and label."""
    rng = np.random.default_rng(settings.seed)
    groups = image_groups(train)
    count = min(recipe.epoch_images, MOST_DRAWS * len(train.rows))
    shares = list(np.bincount(groups) ** recipe.balance)
    return np.concatenate(
        [
            evenly_drawn(groups, shares=shares, count=count, rng=rng)
            for _ in range(settings.epochs)
        ]
    )


def _rates(
    recipe: Recipe, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    warm_up = max(1, round(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        0.02 * recipe.peak_learning_rate,
        max(1, steps - warm_up),
        warmup_target=recipe.peak_learning_rate,
        warmup_steps=warm_up,
    )


def _with_source_head(
    branch: keras.Model, sources: int, strength: keras.Variable
) -> keras.KerasTensor:
    """Return logits of labels and, from reversed features, of the source."""

    class ReversedGradient(keras.layers.Layer):
        """Pass values on; turn gradients round."""

        def call(self, inputs: Any) -> Any:
            """Return the inputs; only their gradient is another."""
            kept = ops.stop_gradient(inputs * (1.0 + strength))
            return kept - inputs * strength

    reversed_features = ReversedGradient()(branch.outputs[1])
    guessed = keras.layers.Dense(sources, name=f"{HEAD_LAYER}_source")(
        reversed_features
    )
    return ops.concatenate([branch.outputs[0], guessed], axis=1)


def _rising(strength: keras.Variable, steps: int) -> keras.callbacks.Callback:
    """Raise the reversed gradient from 0 to 1, as Ganin et al. do."""

    def at(batch: int, logs: Any = None) -> None:
        strength.assign(2.0 / (1.0 + math.exp(-10.0 * batch / steps)) - 1.0)

    return keras.callbacks.LambdaCallback(on_train_batch_begin=at)


def _loss(method: str, of_labels: Loss, labels: int, sources: int) -> Loss:
    """Return the loss of targets with the source of each image behind its labels."""

    def plain(targets: Any, outputs: Any) -> Any:
        return of_labels(targets[:, :labels], outputs)

    def adversarial(targets: Any, outputs: Any) -> Any:
        logged = ops.log_softmax(outputs[:, labels:])
        guessed = -ops.mean(ops.sum(targets[:, labels:] * logged, axis=1))
        return of_labels(targets[:, :labels], outputs[:, :labels]) + guessed

    shares = keras.Variable(
        np.full(sources, 1.0 / sources, np.float32), trainable=False
    )

    def group_dro(targets: Any, outputs: Any) -> Any:
        of_source = []
        for number in range(labels, labels + sources):
            inside = targets[:, number : number + 1] > 0
            own = ops.where(inside, targets[:, :labels], -1.0)
            of_source.append(of_labels(own, outputs))
        losses = ops.stack(of_source)
        raised = shares * ops.exp(GROUP_STEP * ops.stop_gradient(losses))
        now = raised / ops.sum(raised)
        shares.assign(now)
        return ops.sum(now * losses)

    return {PLAIN: plain, ADVERSARIAL: adversarial, GROUP_DRO: group_dro}[method]
