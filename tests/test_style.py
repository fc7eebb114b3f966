"""Templates, style sheets and scripts: readable colours, short lines, known classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

TOKENS = Path(__file__).parents[1] / "static" / "css" / "tokens.css"
TEMPLATES = Path(__file__).parents[1] / "templates"
STATIC = Path(__file__).parents[1] / "static"
ALL_TEMPLATES = sorted(TEMPLATES.rglob("*.html"))
# Text on its ground (WCAG 2.2, 1.4.3).
LEAST = 4.5
LONGEST_LINE = 120
# What stands on what: text and signs first, then the grounds under them.
PAIRS = [
    (text, ground)
    for text, grounds in {
        "text": ("page", "panel", "tint", "hover", "field"),
        "quiet": ("page", "panel", "tint", "hover", "field"),
        "accent": ("page", "panel", "tint"),
        "on-accent": ("accent",),
        "stat": ("panel", "stat-tint"),
        "urgent": ("panel", "urgent-tint"),
        "done": ("done-tint",),
    }.items()
    for ground in grounds
]
STAGE_PAIRS = [
    ("stage-text", "stage"),
    ("stage-text", "stage-button"),
    ("stage-quiet", "stage"),
]


def colours(theme: int) -> dict[str, str]:
    """Return the colours of a theme, 0 light, 1 dark, and those of both."""
    written = TOKENS.read_text(encoding="utf-8")
    themed = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", written)
    plain = re.findall(r"--([\w-]+): (#\w{6});", written)
    return {name: pair[theme] for name, *pair in themed} | dict(plain)


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS + STAGE_PAIRS)
def test_text_contrasts_with_its_background(theme: int, text: str, ground: str) -> None:
    known = colours(theme)

    assert contrast(known[text], known[ground]) >= LEAST


def test_contrast_is_computed_by_the_wcag_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def of_each_template(test: Callable[[Path], None]) -> Callable[[Path], None]:
    """Run a test for each template."""
    names = [str(path.relative_to(TEMPLATES)) for path in ALL_TEMPLATES]
    return pytest.mark.parametrize("template", ALL_TEMPLATES, ids=names)(test)


@of_each_template
def test_templates_follow_the_content_security_policy(template: Path) -> None:
    written = template.read_text(encoding="utf-8")

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", written)
    for script in re.findall(r"<script[^>]*>", written):
        assert " src=" in script


@of_each_template
def test_lines_of_templates_are_short(template: Path) -> None:
    lines = template.read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if len(line) > LONGEST_LINE] == []


def styled_classes() -> set[str]:
    """Return the classes that the style sheets name."""
    sheets = "".join(path.read_text() for path in (STATIC / "css").glob("*.css"))
    return set(re.findall(r"\.([a-z][\w-]*)", sheets))


def test_every_class_of_a_template_has_a_style() -> None:
    used = {
        name
        for path in ALL_TEMPLATES
        # Those of the admin are Django's.
        if TEMPLATES / "admin" not in path.parents
        for names in re.findall(r'class="([^"]*)"', path.read_text(encoding="utf-8"))
        for name in re.sub(r"{%.*?%}|{{.*?}}", " ", names).split()
    }

    assert used - styled_classes() == set()


def test_scripts_contain_no_texts() -> None:
    classes = styled_classes()
    for path in (STATIC / "js").glob("*.js"):
        code = re.sub(r"^\s*//.*|/\*.*?\*/|\s// .*", "", path.read_text(), flags=re.M)
        literals = re.findall(r'["`]([^"`\n]*)["`]', code)
        sentences = [
            text
            for text in literals
            if re.search(r"^[A-Z][a-z]+( |\.|$)|[a-z]{2,},? [a-z]{2,}\b", text)
            and text not in ("Content-Type", "Enter", "Escape", "use strict")
            and not re.search(r"[\[#=]|^\.", text)
            and not set(text.split()) <= classes
        ]
        assert sentences == [], path.name
