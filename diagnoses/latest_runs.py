"""The latest run of each model on an image, the default model's first.

The default is DEFAULT_MODEL; for an image that it does not read, the first of
OTHER_DEFAULT_MODELS that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from diagnoses.models import Prediction


def default_names() -> tuple[str, ...]:
    """Return the names of the default models, in order of preference."""
    return (settings.DEFAULT_MODEL, *settings.OTHER_DEFAULT_MODELS)


def default_rank(name: str) -> int:
    """Return the rank of a model among the default models; others come last."""
    names = default_names()
    return names.index(name) if name in names else len(names)


def latest_runs(instance_ids: Iterable[UUID]) -> dict[UUID, list[Prediction]]:
    """Return the latest run of each model on each instance, the default model's first.

    Shadow runs are left out; see `latest_shadow_runs`.

    Args:
        instance_ids: Keys of instances.

    Returns:
        A list for each instance, empty if it was never queued. A row without a model
        counts only if there is no run of a model.
    """
    runs: dict[UUID, dict[str | None, Prediction]] = {pk: {} for pk in instance_ids}
    for prediction in _oldest_first(list(runs), shadow=False):
        version = prediction.model_version
        runs[prediction.instance_id][version.name if version else None] = prediction
    return {pk: _default_first(by_model) for pk, by_model in runs.items()}


def latest_shadow_runs(instance_id: UUID) -> list[Prediction]:
    """Return the latest shadow run of each version on one instance.

    Only for users who may see them: the caller has checked that.
    """
    latest = {
        prediction.model_version_id: prediction
        for prediction in _oldest_first([instance_id], shadow=True)
    }
    return sorted(latest.values(), key=lambda run: str(run.model_version))


def _oldest_first(
    instance_ids: Sequence[UUID], *, shadow: bool
) -> QuerySet[Prediction]:
    return (
        Prediction.objects.filter(instance_id__in=instance_ids, shadow=shadow)
        .select_related("model_version")
        .defer("geometry", "provenance", "model_version__card")
        .order_by("queued_at", "run")
    )


def _default_first(by_model: dict[str | None, Prediction]) -> list[Prediction]:
    if len(by_model) > 1:
        by_model = {name: run for name, run in by_model.items() if name is not None}
    names = sorted(by_model, key=lambda n: (default_rank(n or ""), n or ""))
    return [by_model[name] for name in names]
