"""Site acceptance: what a version measures on the hospital's own labelled images.

Judged by the thresholds in force here, and kept beside the figures of the card, which
were measured elsewhere. Whoever activates a version is asked for it. Softmax models
answer by their highest probability; what the thresholds make of an image, which is what
readers see marked, stands as `sensitivity_at_threshold` and `specificity_at_threshold`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.audit import AuditAction, AuditSource
from accounts.models import User
from diagnoses.governance.versions import thresholds_of
from diagnoses.models import ModelVersion, SiteAcceptance
from ml.datasets.manifest import read_manifest
from ml.ensemble import EnsembleModel
from ml.evaluation.scoring import refuse_nothing, report_of, score_images
from ml.inference import LoadedModel

Progress = Callable[[int, int], None]
# A file's name may be a patient's: counted, not kept.
_NAMING_FILES = ("failed", "skipped_ambiguous")


@dataclass(frozen=True)
class LabelledImages:
    """The images to measure on.

    Attributes:
        manifest: A CSV with at least the columns path and labels; patient_id, too, or
            each image is taken for a patient of its own.
        root: The folder that its paths start from.
    """

    manifest: Path
    root: Path


def accept_model(
    model_version: ModelVersion,
    *,
    images: LabelledImages,
    model: LoadedModel | EnsembleModel,
    actor: User | None,
    progress: Progress = lambda done, total: None,
) -> SiteAcceptance:
    """Measure a version on the site's images and keep the figures.

    Args:
        model_version: Which one.
        images: What to measure on.
        model: The loaded model of this version.
        actor: Who lets it be measured; None where the command was not told.
        progress: Called with how many images are done, of how many.

    Raises:
        TrainingError: The manifest cannot be read.
        ModelError: None of its images could be measured.
    """
    manifest_sha256 = hashlib.sha256(_content(images.manifest)).hexdigest()
    rows = read_manifest(images.manifest)
    limits = {
        label: threshold.value
        for label, threshold in thresholds_of(model_version).items()
    }
    scored = score_images(
        model, rows, root=images.root, progress=progress, thresholds=limits
    )
    refuse_nothing(scored, root=images.root)
    report = report_of(
        scored,
        weights_sha256=model.weights_sha256,
        threshold_source="operating_point",
    )
    with transaction.atomic():
        acceptance = SiteAcceptance.objects.create(
            model_version=model_version,
            figures=_kept(report, limits),
            images=report["n"],
            patients=report["patients"],
            manifest_sha256=manifest_sha256,
            measured_by=actor,
        )
        _record(acceptance, actor)
    return acceptance


def _content(manifest: Path) -> bytes:
    """Return the bytes of a manifest; what cannot be read, `read_manifest` tells."""
    try:
        return manifest.read_bytes()
    except OSError:
        return b""


def _kept(report: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    return {
        **report,
        **{name: len(report[name]) for name in _NAMING_FILES},
        "thresholds": limits,
        "software_version": settings.SOFTWARE_VERSION,
    }


def _record(acceptance: SiteAcceptance, actor: User | None) -> None:
    audit.record(
        action=AuditAction.CREATE,
        actor=actor,
        source=AuditSource.COMMAND,
        object_kind="site_acceptance",
        object_uuid=acceptance.pk,
        detail={
            "model": str(acceptance.model_version),
            "images": acceptance.images,
            "patients": acceptance.patients,
            "manifest_sha256": acceptance.manifest_sha256,
        },
    )
