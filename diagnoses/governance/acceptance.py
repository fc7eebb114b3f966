"""Local validation: measure a version on the hospital's own labelled images.

The figures use the thresholds in force here and are stored beside those of the card.
Activating a version requires a local validation. Softmax models are measured by their
highest probability; `sensitivity_at_threshold` and `specificity_at_threshold` measure
the positive findings that readers see.
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
# File names may contain patient names: counted, not stored.
_NAMING_FILES = ("failed", "skipped_ambiguous")


@dataclass(frozen=True)
class LabelledImages:
    """The images to measure on.

    Attributes:
        manifest: A CSV with at least the columns path and labels; patient_id, too;
            otherwise each image counts as a patient.
        root: Folder of its paths.
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
    """Measure a version on the site's images and store the figures.

    Args:
        model_version: The version to measure.
        images: The images to measure on.
        model: The loaded model of this version.
        actor: The user; None for a command without a user.
        progress: Called with the number of images done and the total.

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
    """Return the bytes of a manifest; `read_manifest` reports unreadable ones."""
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
