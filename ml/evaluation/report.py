"""Write a measurement as Markdown with plots beside it, and as one HTML file."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.cards.measurements import NOT_SEPARABLE, command_text
from ml.evaluation.coverage import risk_coverage
from ml.evaluation.plots import plots_of
from ml.evaluation.summary import GROUP_METRICS, HEADLINES, ScoredImages
from ml.evaluation.wording import Translate, group_names, in_english, metric_names

CURVES = "curves.svg"
PAIR_METRICS = ("auc", "balanced_accuracy")
LABEL_COLUMNS = (
    "auc",
    "average_precision",
    "sensitivity",
    "specificity",
    "f1",
    "expected_calibration_error",
    "brier",
)
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #d8dce2;padding:.3em .7em;text-align:left}"
    "svg{max-width:100%;height:auto}"
)


def write_report(
    report: Mapping[str, Any],
    scored: ScoredImages,
    folder: Path,
    *,
    translate: Translate = in_english,
    language: str = "en",
) -> None:
    """Write report.md, report.html and the plots of a measurement.

    Args:
        report: What `evaluate_model` reports, its command as "command".
        scored: The images it was measured on, at least one.
        folder: Where to write; made if it is not there.
        translate: Returns a text in the language of the reader.
        language: The code of that language.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = plots_of(scored, risk=risk_coverage(scored), translate=translate)
    curves = (
        scored.card.weights_file.parent / CURVES if scored.card.weights_file else None
    )
    if curves is not None and curves.is_file():
        plots["learning-curves"] = curves.read_text(encoding="utf-8")
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    sections = sections_of(report, translate=translate)
    shown = {
        name: title for name, title in plot_titles(translate).items() if name in plots
    }
    (folder / "report.md").write_text(_markdown(sections, shown), encoding="utf-8")
    (folder / "report.html").write_text(
        _html(sections, shown, plots, language=language), encoding="utf-8"
    )


def plot_titles(translate: Translate = in_english) -> dict[str, str]:
    """Return the title of every plot by its name, in reading order."""
    return {
        "roc": translate("ROC of each label that has images of both kinds"),
        "precision-recall": translate("Precision and recall"),
        "confusion": translate("Confusion"),
        "reliability": translate("Reliability: probabilities against observed shares"),
        "risk-coverage": translate(
            "Risk and coverage: errors among the most certain answers"
        ),
        "learning-curves": translate("Learning curves"),
    }


class Section:
    """A heading with sentences and tables; the first row of a table is its header."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.sentences: list[str] = []
        self.tables: list[list[list[str]]] = []


def sections_of(
    report: Mapping[str, Any], *, translate: Translate = in_english
) -> list[Section]:
    """Return the sections of the report in reading order."""
    sections = [
        _about(report, translate),
        _headlines(report, translate),
        _labels(report, translate),
    ]
    if report.get("baseline"):
        sections.append(_baseline(report["baseline"], translate))
    if report.get("pair"):
        sections.append(_pair(report["pair"], translate))
    if report["predictive_values"]:
        sections.append(_predictive_values(report["predictive_values"], translate))
    if report.get("uncertainty"):
        sections.append(_uncertainty(report["uncertainty"], translate))
    sections += [
        _group(kind, values, translate) for kind, values in report["groups"].items()
    ]
    return sections


def _about(report: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(translate("%(model)s %(version)s: evaluation") % report)
    section.sentences = [
        translate("Decision support, not for diagnosis."),
        translate(
            "%(n)d images of %(patients)d patients; %(skipped)d left out "
            "(%(unknown)d of unknown truth, %(ambiguous)d ambiguous, %(failed)d not "
            "readable)."
        )
        % {
            "n": report["n"],
            "patients": report["patients"],
            "skipped": report["skipped"],
            "unknown": report["skipped_unknown"],
            "ambiguous": len(report["skipped_ambiguous"]),
            "failed": len(report["failed"]),
        },
        translate(
            "Thresholds: %(source)s. Intervals: 95 %%, by 1,000 resamples of patients."
        )
        % {"source": report["threshold_source"]},
    ]
    if report.get("change", "none") != "none":
        text = translate("Every image was changed first: %(change)s.")
        section.sentences.append(text % {"change": report["change"]})
    if report.get("command"):
        text = translate("Measured by: %(command)s")
        command = command_text(report["command"])
        section.sentences.append(text % {"command": command})
    return section


def _headlines(report: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(translate("All images"))
    section.tables = [_metrics_table(report, HEADLINES, translate)]
    return section


def _metrics_table(
    values: Mapping[str, Any], shown: Sequence[str], translate: Translate
) -> list[list[str]]:
    names = metric_names(translate)
    return [
        [translate("metric"), translate("value (95 % interval)")],
        *[
            [names[each], value_with_interval(values[each], translate)]
            for each in shown
        ],
    ]


def _labels(report: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(translate("Each label"))
    names = metric_names(translate)
    columns = [names[key] for key in LABEL_COLUMNS]
    heading = [translate("label"), translate("with"), translate("without"), *columns]
    table = [heading]
    for name in report["labels_claimed"]:
        values = report["labels"][name]
        cells = [
            _with_interval(values[key], values["intervals"][key], translate)
            for key in LABEL_COLUMNS
        ]
        table.append([name, str(values["positives"]), str(values["negatives"]), *cells])
    section.tables = [table] if len(table) > 1 else []
    if report["too_few"]:
        text = translate("Too few images with or without the label: %(labels)s.")
        section.sentences.append(text % {"labels": ", ".join(report["too_few"])})
    return section


def _baseline(values: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(translate("Border-and-histogram baseline"))
    section.sentences = [
        translate(
            "A logistic regression that sees %(sees)s, trained on %(images)d train "
            "images of the same sources, measured on the same images."
        )
        % {"sees": translate(values["sees"]), "images": values["learned_from"]}
    ]
    section.tables = [
        [
            [
                translate("metric"),
                translate("model"),
                translate("baseline"),
                translate("lead (95 % interval)"),
                "",
            ],
            *[
                [
                    name,
                    value_with_interval(each["model"], translate),
                    value_with_interval(each["baseline"], translate),
                    value_with_interval(each["lead"], translate),
                    verdict_text(each["verdict"], translate),
                ]
                for name, each in _baseline_rows(values, translate)
            ],
        ]
    ]
    if values["not_separable"]:
        names = metric_names(translate)
        text = translate("Source not separable from disease: %(metrics)s.")
        which = ", ".join(names.get(each, each) for each in values["not_separable"])
        section.sentences.append(text % {"metrics": which})
    return section


def _baseline_rows(
    values: Mapping[str, Any], translate: Translate
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    names = metric_names(translate)
    for name, each in values["figures"].items():
        yield names[name], each
    for name, each in values["labels"].items():
        yield translate("AUC of %(label)s") % {"label": name}, each["auc"]
    if values.get("pair"):
        pair = values["pair"]
        sides = _pair_title(pair, translate)
        for name in PAIR_METRICS:
            yield f"{sides}: {names[name]}", pair[name]


def verdict_text(verdict: str, translate: Translate) -> str:
    """Return the verdict about a baseline for people; "" stays ""."""
    if verdict == NOT_SEPARABLE:
        return translate("source not separable from disease")
    return verdict


def _pair_title(values: Mapping[str, Any], translate: Translate) -> str:
    first, second = values["pair"]
    text = translate("%(first)s against %(second)s")
    return text % {"first": first, "second": second}


def _pair(values: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(_pair_title(values, translate))
    text = translate("%(n)d images that have one of the two.")
    section.sentences = [text % {"n": values["n"]}]
    section.tables = [_metrics_table(values, PAIR_METRICS, translate)]
    return section


def _predictive_values(
    by_label: Mapping[str, Sequence[Mapping[str, Any]]], translate: Translate
) -> Section:
    section = Section(translate("What a mark is worth where a label is rare"))
    heading = [
        translate("label"),
        translate("share of patients with it"),
        translate("of the marked: have it"),
        translate("of the others: do not have it"),
    ]
    rows = [
        [
            label,
            f"{values['prevalence']:.0%}",
            value_with_interval(values["ppv"], translate),
            value_with_interval(values["npv"], translate),
        ]
        for label, by_prevalence in by_label.items()
        for values in by_prevalence
    ]
    section.tables = [[heading, *rows]]
    return section


def _uncertainty(report: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(translate("Coverage of label sets and bands"))
    section.sentences = [
        translate(
            "Stated coverage: %(coverage)s. Counted: %(counted)s. Groups of fewer than "
            "50 have no value."
        )
        % {"coverage": report["stated_coverage"], "counted": report["counted"]}
    ]
    table = [
        [
            translate("of"),
            translate("number"),
            translate("coverage (95 % interval)"),
            translate("left open"),
        ],
        _coverage(translate("all"), report, translate),
    ]
    with_label, without = translate("%(label)s: with"), translate("%(label)s: without")
    for kind in ("by_source", "by_class"):
        for name, values in report[kind].items():
            if "with" in values:
                names = {"label": name}
                table += [
                    _coverage(with_label % names, values["with"], translate),
                    _coverage(without % names, values["without"], translate),
                ]
            else:
                table.append(_coverage(name, values, translate))
    section.tables = [table]
    return section


def _coverage(name: str, values: Mapping[str, Any], translate: Translate) -> list[str]:
    if not values["claimed"]:
        return [name, str(values["n"]), translate("too few"), ""]
    return [
        name,
        str(values["n"]),
        value_with_interval(values["coverage"], translate),
        value_with_interval(values["left_open"], translate),
    ]


def _group(kind: str, groups: Mapping[str, Any], translate: Translate) -> Section:
    section = Section(group_names(translate).get(kind, kind))
    names = metric_names(translate)
    table = [
        [
            translate("group"),
            translate("images"),
            *(names[metric] for metric in GROUP_METRICS),
        ]
    ]
    for name, values in groups.items():
        cells = (
            [value_with_interval(values[metric], translate) for metric in GROUP_METRICS]
            if values["claimed"]
            else [translate("too few"), "", ""]
        )
        table.append([name, str(values["n"]), *cells])
    section.tables = [table]
    return section


def value_with_interval(
    values: Mapping[str, Any], translate: Translate = in_english
) -> str:
    """Return a metric with its interval for people; – where it is not defined."""
    ends = (values.get("low"), values.get("high"))
    return _with_interval(values["value"], ends, translate)


def _with_interval(
    value: float | None, ends: Sequence[float | None], translate: Translate
) -> str:
    if value is None:
        return "–"
    low, high = ends
    if low is None:
        return f"{value:.3f}"
    text = translate("%(value).3f (%(low).3f to %(high).3f)")
    return text % {"value": value, "low": low, "high": high}


def _markdown(sections: Sequence[Section], titles: Mapping[str, str]) -> str:
    lines: list[str] = []
    for number, section in enumerate(sections):
        lines += [f"{'#' if number == 0 else '##'} {section.title}", ""]
        for sentence in section.sentences:
            lines += [sentence, ""]
        for heading, *rows in section.tables:
            lines.append(f"| {' | '.join(heading)} |")
            lines.append("|" + "---|" * len(heading))
            lines += [f"| {' | '.join(row)} |" for row in rows]
            lines.append("")
    for name, title in titles.items():
        lines += [f"## {title}", "", f"![{title}]({name}.svg)", ""]
    return "\n".join(lines)


def _html(
    sections: Sequence[Section],
    titles: Mapping[str, str],
    plots: Mapping[str, str],
    *,
    language: str,
) -> str:
    parts = [
        f'<!doctype html><html lang="{html.escape(language)}">',
        '<head><meta charset="utf-8">',
        f"<title>{html.escape(sections[0].title)}</title><style>{STYLE}</style></head>",
        "<body>",
    ]
    for number, section in enumerate(sections):
        level = "h1" if number == 0 else "h2"
        parts.append(f"<{level}>{html.escape(section.title)}</{level}>")
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in section.sentences]
        parts += [_html_table(table) for table in section.tables]
    for name, title in titles.items():
        parts.append(f"<h2>{html.escape(title)}</h2>{plots[name]}")
    return "\n".join([*parts, "</body></html>\n"])


def _html_table(table: Sequence[Sequence[str]]) -> str:
    heading, *rows = table
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
