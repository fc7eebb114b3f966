"""The model results of one image: findings, or why there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may
from accounts.models import User
from diagnoses.heat_maps import RunHeatMaps, heat_maps_of
from diagnoses.latest_runs import latest_runs, latest_shadow_runs
from diagnoses.models import Finding, ModelVersion, Prediction
from diagnoses.pages.words.certainty import RunCertainty, certainties_of
from diagnoses.pages.words.findings import (
    FindingLine,
    Legend,
    finding_line,
    in_reading_order,
)
from diagnoses.pages.words.signs import Sign, status_sign
from ml.cards.ages import Ages
from patients.models import Instance

_Status = Prediction.Status
_HEADINGS = {
    _Status.QUEUED: _("Waiting for the model"),
    _Status.RUNNING: _("The model is analysing the image"),
    _Status.REJECTED: _("Stored, not scored"),
    _Status.FAILED: _("The model could not analyse this image"),
}
# By the tone of the status; for more than one model.
_HEADINGS_OF_SEVERAL = {
    "queued": _("Waiting for %(models)d models"),
    "running": _("%(models)d models are analysing the image"),
    "failed": _("%(models)d models could not analyse this image"),
}


@dataclass(frozen=True)
class ModelOutput:
    """The result of one model's latest run, or its state.

    `others`: outputs without findings that say the same, told together.
    """

    key: UUID
    status: Sign
    waiting: bool
    model: str = ""
    version: str = ""
    model_url: str = ""
    measure: Promise | str = ""
    findings: Sequence[FindingLine] = ()
    provenance: str = ""
    certainty: str = ""
    not_scored: Sequence[str] = ()
    age_note: str = ""
    gate_note: str = ""
    heading: Promise | str = ""
    sentence: str = ""
    retry_url: str = ""
    shadow: bool = False
    others: Sequence["ModelOutput"] = ()


@dataclass(frozen=True)
class _CardTexts:
    """What a card adds: its names of the labels, and the ages in its training data.

    `label_ages`: the ages at which a label was measured, where these are limited.
    """

    displays: Mapping[str, str] = field(default_factory=dict)
    label_ages: Mapping[str, Ages] = field(default_factory=dict)
    ages: str = ""


def results_of(
    instance: Instance, *, user: User, chosen_finding: UUID | None = None
) -> list[ModelOutput]:
    """Return the latest output of each model on an image, the default model first.

    Shadow runs come last, marked, and only for users who may see them. They never lay
    a heat map over the image unless chosen.

    Args:
        instance: The image.
        user: Decides which heat maps, shadow runs and buttons there are.
        chosen_finding: The finding whose heat map lies over the image; by default the
            strongest marked one.
    """
    shown_to_readers = latest_runs([instance.pk])[instance.pk]
    in_shadow = latest_shadow_runs(instance.pk) if may(user, Action.READ_SHADOW) else []
    runs = [*shown_to_readers, *in_shadow]
    findings = _findings_of(runs)
    heat_maps = (
        heat_maps_of(run.pk for run in runs) if may(user, Action.READ_IMAGES) else {}
    )
    card_texts = _card_texts_of(runs)
    certainties = certainties_of(runs)
    gate_notes = _gate_notes_of(runs)
    current = chosen_finding or _strongest_marked(shown_to_readers, findings)
    outputs = [
        _model_output(
            run,
            findings=findings.get(run.pk, []),
            heat_maps=heat_maps.get(run.pk),
            texts=card_texts.get(run.model_version_id, _CardTexts()),
            certainty=certainties.get(run.pk, RunCertainty()),
            gate_note=gate_notes.get(run.pk, ""),
            user=user,
            current=current,
        )
        for run in runs
    ]
    return _told_once(outputs)


def _told_once(outputs: Sequence[ModelOutput]) -> list[ModelOutput]:
    """Join the outputs that give the same reason for having no findings."""
    joined: dict[object, list[ModelOutput]] = {}
    for each in outputs:
        alone = bool(each.findings) or each.shadow
        same = each.key if alone else (each.status.tone, each.sentence)
        joined.setdefault(same, []).append(each)
    return [
        replace(first, others=others, heading=_heading(first, 1 + len(others)))
        for first, *others in joined.values()
    ]


def _heading(model_output: ModelOutput, models: int) -> Promise | str:
    """Return the heading of an output, with the number of models if several."""
    if models == 1:
        return model_output.heading
    several = _HEADINGS_OF_SEVERAL.get(model_output.status.tone)
    if several is None:
        return model_output.heading
    return several % {"models": models}


def claimed_labels_of(run: Prediction) -> Sequence[str]:
    """Return the labels for which the card of a run's model claims an accuracy."""
    return run.model_version.claimed_labels if run.model_version else ()


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
    for finding in Finding.objects.filter(prediction__in=[run.pk for run in runs]):
        findings.setdefault(finding.prediction_id, []).append(finding)
    return {
        run.pk: in_reading_order(
            findings[run.pk], claimed_labels=claimed_labels_of(run)
        )
        for run in runs
        if run.pk in findings
    }


def _card_texts_of(runs: Sequence[Prediction]) -> dict[UUID | None, _CardTexts]:
    rows = ModelVersion.objects.filter(
        pk__in=[run.model_version_id for run in runs if run.model_version_id]
    ).values_list("pk", F("card__labels"), F("card__accepts__ages"))
    return {
        key: _CardTexts(
            {label["name"]: label["display"] for label in labels or ()},
            {label["name"]: label.get("age_years", ()) for label in labels or ()},
            ages or "",
        )
        for key, labels, ages in rows
    }


def _gate_notes_of(runs: Sequence[Prediction]) -> dict[UUID, str]:
    """Return the stored note about the gate of each run that has one."""
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
            line = finding_line(finding, claimed_labels=claimed_labels_of(run))
            if line.marked:
                return finding.pk
    return None


def _model_output(
    run: Prediction,
    *,
    findings: Sequence[Finding],
    heat_maps: RunHeatMaps | None,
    texts: _CardTexts,
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
        measure=(
            _("probability · threshold") if calibrated else _("score · threshold")
        ),
        findings=[
            _line(
                finding,
                run,
                texts=texts,
                certainty=certainty,
                heat_maps=heat_maps,
                current=current,
            )
            for finding in findings
        ],
        provenance=_provenance(run, texts) if findings else "",
        certainty=certainty.sentence(texts.displays),
        not_scored=certainty.not_scored_lines(texts.displays),
        age_note=certainty.age_sentence(texts.displays, texts.label_ages),
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
    texts: _CardTexts,
    certainty: RunCertainty,
    heat_maps: RunHeatMaps | None,
    current: UUID | None,
) -> FindingLine:
    chosen = urlencode({"image": run.instance_id, "finding": finding.pk})
    has_layer = heat_maps is not None and finding.pk in heat_maps.shapes
    line = finding_line(
        finding,
        claimed_labels=claimed_labels_of(run),
        display=texts.displays.get(finding.label, ""),
        certainty=certainty.word(finding.label, positive=finding.positive),
        url=f"?{chosen}",
        layer_url=reverse("heat-layer", args=[finding.pk]) if has_layer else "",
        current=finding.pk == current,
    )
    if heat_maps is None or not has_layer:
        return line
    return replace(line, legend=_legend(line, run, heat_maps))


def _legend(line: FindingLine, run: Prediction, heat_maps: RunHeatMaps) -> Legend:
    rows, columns = heat_maps.shapes[line.key]
    scale = heat_maps.scale
    return Legend(
        finding=f"{line.display} {line.score}",
        model=str(run.model_version),
        cells=gettext("%(rows)d × %(columns)d cells")
        % {"rows": rows, "columns": columns},
        strongest=f"{scale.strongest:.2f}",
        floor=_floor_sentence(heat_maps, painted=line.key in heat_maps.painted),
    )


def _floor_sentence(heat_maps: RunHeatMaps, *, painted: bool) -> str:
    """Return the unit of the scale, and what is not painted."""
    floor = {"floor": f"{heat_maps.scale.floor:.2f}"}
    if not painted:
        return gettext("Nothing to paint: no cell reaches %(floor)s.") % floor
    if heat_maps.in_logits:
        return gettext("Added to the logit; transparent below %(floor)s.") % floor
    return (
        gettext(
            "Relative scale of an older result, unit not known; transparent below "
            "%(floor)s."
        )
        % floor
    )


def _model_url(version: ModelVersion) -> str:
    query = urlencode({"version": version.version})
    return f"{reverse('model', args=[version.name])}?{query}"


def _provenance(run: Prediction, texts: _CardTexts) -> str:
    # The card's first sentence names the people it learned from; its page has the rest.
    first, _dot, _rest = texts.ages.partition(". ")
    trained_on = first.rstrip(".") + "." if first else ""
    return f"{_analysed(run)} {trained_on}".strip()


def _analysed(run: Prediction) -> str:
    if run.finished_at is None:
        return ""
    moment = date_format(timezone.localtime(run.finished_at), "DATETIME_FORMAT")
    if run.milliseconds is None:
        return gettext("Analysed on %(moment)s.") % {"moment": moment}
    return gettext("Analysed in %(milliseconds)d ms on %(moment)s.") % {
        "milliseconds": round(run.milliseconds),
        "moment": moment,
    }


def _sentence(run: Prediction) -> str:
    if run.status == _Status.QUEUED:
        since = date_format(timezone.localtime(run.queued_at), "DATETIME_FORMAT")
        return gettext(
            "In the queue since %(since)s. The result appears here automatically."
        ) % {"since": since}
    if run.status == _Status.RUNNING:
        return gettext("The result appears here automatically.")
    return run.reason_text


def _retry_url(run: Prediction, user: User) -> str:
    if run.retriable and may(user, Action.RETRY_PREDICTION):
        return reverse("retry", args=[run.pk])
    return ""
