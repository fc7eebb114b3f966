"""Learning from a teacher: a trained network's probabilities beside the labels.

Teacher and student see the same varied and mixed images, so that the teacher's answer
belongs to what the student sees (Beyer et al. 2022, arXiv:2106.05237). The teacher is
part of the graph that is trained, without weights that learn; its forward pass takes
about a tenth of the student's step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.cards.card import WEIGHTS_DIR, get_card
from ml.errors import ModelError, TrainingError
from ml.networks.weights_file import open_weights, verify
from ml.training.heads import columns_of
from ml.training.recipes import RECIPES, Distillation, Recipe

if TYPE_CHECKING:
    import keras


def open_teacher(recipe: Recipe, *, weights_dir: Path = WEIGHTS_DIR) -> keras.Model:
    """Return the teacher of a recipe: images to float32 (batch, labels) logits.

    The columns are the labels of the recipe in its order; nothing in it learns.

    Raises:
        TrainingError: There is no such teacher, or it does not know a label.
    """
    import keras

    path, names = _find(recipe, _settings_of(recipe).teacher, weights_dir)
    if missing := set(recipe.label_names) - set(names):
        raise _unknown_labels(recipe, missing)
    columns = [names.index(name) for name in recipe.label_names]
    source = open_weights(path)
    # Files hold float16, in which a CPU computes slowly.
    network = keras.models.clone_model(source, clone_function=_in_float32)
    network.set_weights(source.get_weights())
    image = keras.Input(network.inputs[0].shape[1:], name="image")
    logits = network(image, training=False)[0]
    teacher = keras.Model(
        image, keras.ops.take(logits, columns, axis=1), name="teacher"
    )
    teacher.trainable = False
    return teacher


def taught(network: keras.Model, teacher: keras.Model) -> keras.Model:
    """Return a model with the logits of the student, then those of its teacher."""
    import keras

    both = [network.outputs[0], teacher(network.inputs[0], training=False)]
    return keras.Model(network.inputs, keras.ops.concatenate(both, axis=1))


def distillation_loss(
    recipe: Recipe, of_labels: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """Return the loss of a student: targets, and its logits beside the teacher's.

    A share is the cross-entropy with the teacher's probabilities, both softened by the
    temperature and scaled by its square (Hinton et al. 2015, arXiv:1503.02531). The
    rest is the loss of the labels, which leaves out those that are unknown; the
    teacher has an answer for every label.
    """
    from keras import ops

    settings = _settings_of(recipe)
    count, share, temperature = (
        len(recipe.labels),
        settings.share,
        settings.temperature,
    )

    def loss(targets: Any, outputs: Any) -> Any:
        logits, taught = outputs[:, :count], outputs[:, count:]
        of_teacher = sum(
            head.weight
            * _cross_entropy(
                head.task, logits[:, own] / temperature, taught[:, own] / temperature
            )
            for head, own in columns_of(recipe)
        )
        of_truth = of_labels(targets, logits)
        return (1.0 - share) * of_truth + share * temperature**2 * ops.mean(of_teacher)

    return loss


def student_accuracy(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """Return the metric `accuracy` of a softmax recipe, whatever stands behind it."""
    from keras import ops

    count = len(recipe.labels)

    def accuracy(targets: Any, outputs: Any) -> Any:
        chosen = ops.argmax(outputs[:, :count], axis=-1)
        return ops.cast(chosen == ops.argmax(targets, axis=-1), "float32")

    return accuracy


def _settings_of(recipe: Recipe) -> Distillation:
    if recipe.distillation is None:
        raise TrainingError(
            "The recipe %(name)s has no teacher.", params={"name": recipe.name}
        )
    return recipe.distillation


def _cross_entropy(task: str, logits: Any, taught: Any) -> Any:
    """Return the cross-entropy of each image with the probabilities of the teacher."""
    from keras import ops

    if task == "softmax":
        wanted = ops.softmax(taught)
        return -ops.sum(wanted * ops.log_softmax(logits), axis=-1)
    wanted = ops.sigmoid(taught)
    each = wanted * ops.softplus(-logits) + (1.0 - wanted) * ops.softplus(logits)
    return ops.mean(each, axis=-1)


def _in_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config() | {"dtype": "float32"})


def _find(
    recipe: Recipe, source: str, weights_dir: Path
) -> tuple[Path, tuple[str, ...]]:
    """Return the weights of a teacher, and the labels of its first logits.

    Logits of other heads have an empty name.
    """
    if source.endswith(".keras"):
        return Path(source), _labels_of_file(recipe, Path(source))
    name, _, version = source.partition("/")
    try:
        card = get_card(name, version or None, weights_dir=weights_dir)
        verify(card, card.weights_file)
    except ModelError as error:
        raise TrainingError(
            "The teacher %(teacher)s cannot be used. %(reason)s",
            params={"teacher": source, "reason": error.message},
        ) from error
    if card.task != recipe.task:
        raise _unknown_labels(recipe, recipe.label_names)
    backbone = card.raw.get("backbone")
    before = int(backbone["columns"][0]) if backbone else 0
    return card.weights_file, ("",) * before + card.label_names


def _labels_of_file(recipe: Recipe, path: Path) -> tuple[str, ...]:
    """Return the labels of a pre-training's file: of the head that fits the student."""
    if not path.exists():
        raise TrainingError(
            "There is no teacher %(teacher)s.", params={"teacher": str(path)}
        )
    heads = columns_of(RECIPES[path.stem]) if path.stem in RECIPES else ()
    for head, columns in heads:
        knows_all = set(recipe.label_names) <= set(head.label_names)
        if knows_all and head.task == recipe.task:
            return ("",) * columns.start + head.label_names
    raise _unknown_labels(recipe, recipe.label_names)


def _unknown_labels(recipe: Recipe, names: Iterable[str]) -> TrainingError:
    return TrainingError(
        "The teacher of %(name)s does not know, in a head of the same kind: "
        "%(labels)s.",
        params={"name": recipe.name, "labels": ", ".join(sorted(names))},
    )
