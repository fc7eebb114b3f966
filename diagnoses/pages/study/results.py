"""What the models said about one image: findings, or why there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Exists, F, OuterRef
from django.urls import reverse
from django.utils import timezone

from accounts.access import Action, may
from accounts.models import User
from diagnoses.latest_runs import latest_runs, latest_shadow_runs
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction
from diagnoses.pages.words.certainty import RunCertainty, certainties_of
from diagnoses.pages.words.findings import FindingLine, finding_line, in_reading_order
from diagnoses.pages.words.signs import Sign, status_sign
from patients.models import Instance

_Status = Prediction.Status
BY_ITSELF = "The result appears here by itself."
_HEADINGS = {
    _Status.QUEUED: "Waiting for the model",
    _Status.RUNNING: "The model is reading",
    _Status.REJECTED: "Kept and shown, no score given",
    _Status.FAILED: "The model could not read this image",
}


@dataclass(frozen=True)
class ModelOutput:
    """What one model's latest run says, or where it stands."""

    key: UUID
    status: Sign
    waiting: bool
    model: str = ""
    version: str = ""
    model_url: str = ""
    measure: str = "score"
    findings: Sequence[FindingLine] = ()
    provenance: str = ""
    certainty: str = ""
    gate_note: str = ""
    heading: str = ""
    sentence: str = ""
    retry_url: str = ""
    shadow: bool = False


@dataclass(frozen=True)
class _ModelWords:
    """What a card adds: its words for the labels, and the ages that it learned from."""

    displays: Mapping[str, str] = field(default_factory=dict)
    ages: str = ""


def results_of(
    instance: Instance, *, user: User, chosen_finding: UUID | None = None
) -> list[ModelOutput]:
    """Return the latest output of each model on an image, the default model first.

    Whoever may see shadow runs finds them last, marked as what readers do not see;
    they never lay a heat map over the image by themselves.

    Args:
        instance: The image.
        user: Who looks: decides about heat maps and about trying again.
        chosen_finding: Whose heat map lies over the image; without it, that of the
            strongest marked finding.
    """
    told = latest_runs([instance.pk])[instance.pk]
    in_shadow = latest_shadow_runs(instance.pk) if may(user, Action.READ_SHADOW) else []
    runs = [*told, *in_shadow]
    findings = _findings_of(runs)
    words = _words_of(runs)
    certainties = certainties_of(runs)
    gate_notes = _gate_notes_of(runs)
    current = chosen_finding or _strongest_marked(told, findings)
    return [
        _model_output(
            run,
            findings=findings.get(run.pk, []),
            words=words.get(run.model_version_id, _ModelWords()),
            certainty=certainties.get(run.pk, RunCertainty()),
            gate_note=gate_notes.get(run.pk, ""),
            user=user,
            current=current,
        )
        for run in runs
    ]


def layer_of(results: Sequence[ModelOutput]) -> FindingLine | None:
    """Return the finding whose heat map lies over the image."""
    return next(
        (
            line
            for model_output in results
            for line in model_output.findings
            if line.current and line.layer_url
        ),
        None,
    )


def _findings_of(runs: Sequence[Prediction]) -> dict[UUID, list[Finding]]:
    findings: dict[UUID, list[Finding]] = {}
    mapped = HeatMap.objects.filter(finding=OuterRef("pk"))
    for finding in Finding.objects.filter(
        prediction__in=[run.pk for run in runs]
    ).annotate(has_heat_map=Exists(mapped)):
        findings.setdefault(finding.prediction_id, []).append(finding)
    return {key: in_reading_order(listed) for key, listed in findings.items()}


def _words_of(runs: Sequence[Prediction]) -> dict[UUID | None, _ModelWords]:
    rows = ModelVersion.objects.filter(
        pk__in=[run.model_version_id for run in runs if run.model_version_id]
    ).values_list("pk", F("card__labels"), F("card__accepts__ages"))
    return {
        key: _ModelWords(
            {label["name"]: label["display"] for label in labels or ()}, ages or ""
        )
        for key, labels, ages in rows
    }


def _gate_notes_of(runs: Sequence[Prediction]) -> dict[UUID, str]:
    """Return what is to be said of the gate, of the runs where there is something."""
    noted = Prediction.objects.filter(
        pk__in=[run.pk for run in runs], provenance__gate__note__gt=""
    )
    return dict(noted.values_list("pk", "provenance__gate__note"))


def _strongest_marked(
    runs: Sequence[Prediction], findings: Mapping[UUID, Sequence[Finding]]
) -> UUID | None:
    """Return the first marked finding of the first model that has one."""
    for run in runs:
        for finding in findings.get(run.pk, ()):
            if finding_line(finding).marked:
                return finding.pk
    return None


def _model_output(
    run: Prediction,
    *,
    findings: Sequence[Finding],
    words: _ModelWords,
    certainty: RunCertainty,
    gate_note: str,
    user: User,
    current: UUID | None,
) -> ModelOutput:
    version = run.model_version
    calibrated = bool(findings) and all(finding.calibrated for finding in findings)
    return ModelOutput(
        key=run.pk,
        status=status_sign(run.status, reason_code=run.reason_code),
        waiting=not run.finished,
        model=version.name if version else "",
        version=version.version if version else "",
        model_url=_model_url(version) if version else "",
        measure="probability" if calibrated else "score",
        findings=[
            _line(
                finding,
                run,
                words=words,
                certainty=certainty,
                user=user,
                current=current,
            )
            for finding in findings
        ],
        provenance=_provenance(run, words) if findings else "",
        certainty=certainty.sentence(words.displays),
        gate_note=gate_note,
        heading=_HEADINGS.get(_Status(run.status), ""),
        sentence=_sentence(run),
        retry_url=_retry_url(run, user),
        shadow=run.shadow,
    )


def _line(
    finding: Finding,
    run: Prediction,
    *,
    words: _ModelWords,
    certainty: RunCertainty,
    user: User,
    current: UUID | None,
) -> FindingLine:
    chosen = urlencode({"image": run.instance_id, "finding": finding.pk})
    drawn = finding.has_heat_map and may(user, Action.READ_IMAGES)
    return finding_line(
        finding,
        display=words.displays.get(finding.label, ""),
        certainty=certainty.word(finding.label, positive=finding.positive),
        url=f"?{chosen}",
        layer_url=reverse("heat-layer", args=[finding.pk]) if drawn else "",
        current=finding.pk == current,
    )


def _model_url(version: ModelVersion) -> str:
    asked = urlencode({"version": version.version})
    return f"{reverse('model', args=[version.name])}?{asked}"


def _provenance(run: Prediction, words: _ModelWords) -> str:
    took = f" in {run.milliseconds:.0f} ms" if run.milliseconds is not None else ""
    said = f"Read{took} {_when(run.finished_at)}."
    # The first sentence says whom it learned from; the rest stands on its page.
    first, _, _ = words.ages.partition(". ")
    return f"{said} {first.rstrip('.')}." if first else said


def _when(moment: datetime | None) -> str:
    if moment is None:
        return ""
    local = timezone.localtime(moment)
    if local.date() == timezone.localdate():
        return f"at {local:%H:%M:%S}"
    return f"on {local.day} {local:%b %Y} at {local:%H:%M:%S}"


def _sentence(run: Prediction) -> str:
    if run.status == _Status.QUEUED:
        since = timezone.localtime(run.queued_at)
        return f"In the queue since {since:%H:%M:%S}. {BY_ITSELF}"
    if run.status == _Status.RUNNING:
        return BY_ITSELF
    return run.reason_text


def _retry_url(run: Prediction, user: User) -> str:
    if run.retriable and may(user, Action.RETRY_PREDICTION):
        return reverse("retry", args=[run.pk])
    return ""
