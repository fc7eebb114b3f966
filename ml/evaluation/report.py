"""Write a measurement as Markdown with plots beside it, and as one HTML file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.cards.measurements import NOT_SEPARABLE, command_text
from ml.evaluation.coverage import risk_coverage
from ml.evaluation.plots import plots_of
from ml.evaluation.summary import GROUP_METRICS, HEADLINES, ScoredImages

CURVES = "curves.svg"
PLOTS = {
    "roc": "ROC of each label that has images of both kinds",
    "precision-recall": "Precision and recall",
    "confusion": "Confusion",
    "reliability": "Reliability: probabilities against observed shares",
    "risk-coverage": "Risk and coverage: errors among the most certain answers",
    "learning-curves": "Learning curves",
}
LABEL_COLUMNS = (
    ("AUC", "auc"),
    ("average precision", "average_precision"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("F1", "f1"),
    ("ECE", "expected_calibration_error"),
    ("Brier", "brier"),
)
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #d8dce2;padding:.3em .7em;text-align:left}"
    "svg{max-width:100%;height:auto}"
)


def write_report(report: Mapping[str, Any], scored: ScoredImages, folder: Path) -> None:
    """Write report.md, report.html and the plots of a measurement.

    Args:
        report: What `evaluate_model` reports, its command as "command".
        scored: The images it was measured on, at least one.
        folder: Where to write; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = plots_of(scored, risk=risk_coverage(scored))
    curves = (
        scored.card.weights_file.parent / CURVES if scored.card.weights_file else None
    )
    if curves is not None and curves.is_file():
        plots["learning-curves"] = curves.read_text(encoding="utf-8")
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    sections = sections_of(report)
    shown = [name for name in PLOTS if name in plots]
    (folder / "report.md").write_text(_markdown(sections, shown), encoding="utf-8")
    (folder / "report.html").write_text(
        _html(sections, {name: plots[name] for name in shown}), encoding="utf-8"
    )


class Section:
    """A heading with sentences and tables; the first row of a table is its header."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.sentences: list[str] = []
        self.tables: list[list[list[str]]] = []


def sections_of(report: Mapping[str, Any]) -> list[Section]:
    """Return the sections of the report in reading order."""
    sections = [_about(report), _headlines(report), _labels(report)]
    if report.get("baseline"):
        sections.append(_baseline(report["baseline"]))
    if report.get("pair"):
        sections.append(_pair(report["pair"]))
    if report.get("uncertainty"):
        sections.append(_uncertainty(report["uncertainty"]))
    sections += [_group(kind, values) for kind, values in report["groups"].items()]
    return sections


def _about(report: Mapping[str, Any]) -> Section:
    section = Section(f"{report['model']} {report['version']}: evaluation")
    section.sentences = [
        "Decision support, not for diagnosis.",
        f"{report['n']} images of {report['patients']} patients; {report['skipped']} "
        f"left out ({report['skipped_unknown']} of unknown truth, "
        f"{len(report['skipped_ambiguous'])} ambiguous, {len(report['failed'])} not "
        "readable).",
        f"Thresholds: {report['threshold_source']}. Intervals: 95 %, by 1,000 "
        "resamples of patients.",
    ]
    if report.get("change", "none") != "none":
        section.sentences.append(f"Every image was changed first: {report['change']}.")
    if report.get("command"):
        section.sentences.append("Measured by: " + command_text(report["command"]))
    return section


def _headlines(report: Mapping[str, Any]) -> Section:
    section = Section("All images")
    section.tables = [
        [
            ["metric", "value (95 % interval)"],
            *[[n.replace("_", " "), value_with_interval(report[n])] for n in HEADLINES],
        ]
    ]
    return section


def _labels(report: Mapping[str, Any]) -> Section:
    section = Section("Each label")
    table = [["label", "with", "without", *(word for word, _ in LABEL_COLUMNS)]]
    for name in report["labels_claimed"]:
        values = report["labels"][name]
        cells = [
            _with_interval(values[key], values["intervals"][key])
            for _, key in LABEL_COLUMNS
        ]
        table.append([name, str(values["positives"]), str(values["negatives"]), *cells])
    section.tables = [table] if len(table) > 1 else []
    if report["too_few"]:
        section.sentences.append(
            f"Too few images with or without the label: {', '.join(report['too_few'])}."
        )
    return section


def _baseline(values: Mapping[str, Any]) -> Section:
    section = Section("Border-and-histogram baseline")
    section.sentences = [
        f"A logistic regression that sees {values['sees']}, trained on "
        f"{values['learned_from']} train images of the same sources, measured on the "
        "same images.",
    ]
    rows = [(name.replace("_", " "), each) for name, each in values["figures"].items()]
    rows += [(f"AUC of {name}", each["auc"]) for name, each in values["labels"].items()]
    if values.get("pair"):
        rows += [
            (
                f"{' against '.join(values['pair']['pair'])}, {name}",
                values["pair"][name],
            )
            for name in ("auc", "balanced_accuracy")
        ]
    section.tables = [
        [
            ["metric", "model", "baseline", "lead (95 % interval)", ""],
            *[
                [
                    name,
                    value_with_interval(each["model"]),
                    value_with_interval(each["baseline"]),
                    value_with_interval(each["lead"]),
                    each["verdict"],
                ]
                for name, each in rows
            ],
        ]
    ]
    if values["not_separable"]:
        section.sentences.append(
            f"{NOT_SEPARABLE.capitalize()}: {', '.join(values['not_separable'])}."
        )
    return section


def _pair(values: Mapping[str, Any]) -> Section:
    section = Section(" against ".join(values["pair"]))
    section.sentences = [f"{values['n']} images that have one of the two."]
    section.tables = [
        [
            ["metric", "value (95 % interval)"],
            *[
                [n.replace("_", " "), value_with_interval(values[n])]
                for n in ("auc", "balanced_accuracy")
            ],
        ]
    ]
    return section


def _uncertainty(report: Mapping[str, Any]) -> Section:
    section = Section("Coverage of label sets and bands")
    section.sentences = [
        f"Stated coverage: {report['stated_coverage']} of {report['counted']}. Groups "
        "of fewer than 50 have no value.",
    ]
    table = [
        ["of", "n", "coverage (95 % interval)", "left open"],
        _coverage("all", report),
    ]
    for kind in ("by_source", "by_class"):
        for name, values in report[kind].items():
            if "with" in values:
                table.append(_coverage(f"{name}: images with it", values["with"]))
                table.append(_coverage(f"{name}: images without", values["without"]))
            else:
                table.append(_coverage(name, values))
    section.tables = [table]
    return section


def _coverage(name: str, values: Mapping[str, Any]) -> list[str]:
    if not values["claimed"]:
        return [name, str(values["n"]), "too few", ""]
    return [
        name,
        str(values["n"]),
        value_with_interval(values["coverage"]),
        value_with_interval(values["left_open"]),
    ]


def _group(kind: str, groups: Mapping[str, Any]) -> Section:
    section = Section(f"By {kind.replace('_years', '').replace('_', ' ')}")
    table = [["group", "images", "accuracy", "balanced accuracy", "mean AUC"]]
    for name, values in groups.items():
        cells = (
            [value_with_interval(values[metric]) for metric in GROUP_METRICS]
            if values["claimed"]
            else ["too few", "", ""]
        )
        table.append([name, str(values["n"]), *cells])
    section.tables = [table]
    return section


def value_with_interval(values: Mapping[str, Any]) -> str:
    """Return a metric with its interval for people; – where it is not defined."""
    return _with_interval(values["value"], [values.get("low"), values.get("high")])


def _with_interval(value: float | None, ends: Sequence[float | None]) -> str:
    if value is None:
        return "–"
    low, high = ends
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _markdown(sections: Sequence[Section], plots: Sequence[str]) -> str:
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
    for name in plots:
        lines += [f"## {PLOTS[name]}", "", f"![{PLOTS[name]}]({name}.svg)", ""]
    return "\n".join(lines)


def _html(sections: Sequence[Section], plots: Mapping[str, str]) -> str:
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{html.escape(sections[0].title)}</title><style>{STYLE}</style></head>",
        "<body>",
    ]
    for number, section in enumerate(sections):
        level = "h1" if number == 0 else "h2"
        parts.append(f"<{level}>{html.escape(section.title)}</{level}>")
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in section.sentences]
        parts += [_html_table(table) for table in section.tables]
    for name, svg in plots.items():
        parts.append(f"<h2>{html.escape(PLOTS[name])}</h2>{svg}")
    return "\n".join([*parts, "</body></html>\n"])


def _html_table(table: Sequence[Sequence[str]]) -> str:
    heading, *rows = table
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
