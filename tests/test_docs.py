"""README and docs/: every path, link, command, option and setting in them exists."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from accounts.access import ALLOWED, Action
from accounts.models import Role

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
NAMES = [file.relative_to(ROOT).as_posix() for file in DOCS]
SETTINGS = ROOT / "chestx_site" / "settings.py"
DEPLOYMENT = ROOT / "docs" / "deployment.md"
SECURITY = ROOT / "docs" / "security.md"
# Read by gunicorn, Keras and the demo; deployment.md names them beside the table.
READ_ELSEWHERE = {"GUNICORN_CMD_ARGS", "DEMO_PASSWORD", "KERAS_BACKEND"}

_BLOCK = re.compile(r"^```.*?^```$|^(?: {4}.*\n)+", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"\.?[\w-]+(/[\w.-]+)+/?")
_DOTTED = re.compile(r"[a-z_]+(\.\w+)+")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"manage\.py ([a-z_]+)((?:[^`\n|]|\\\|)*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_TARGET = re.compile(r"(?<![\w/-])make ([a-z][a-z-]*)")


@cache
def tracked() -> tuple[str, ...]:
    """Return the paths that Git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(name for name in listed.split("\n") if (ROOT / name).is_file())


@cache
def top_folders() -> frozenset[str]:
    return frozenset(name.split("/")[0] for name in tracked() if "/" in name)


@cache
def sources() -> str:
    """Return everything that is code: Python, JavaScript, JSON, templates, Makefile."""
    endings = (".py", ".js", ".json", ".html", ".toml", "Makefile")
    return "\n".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in tracked()
        if name.endswith(endings) and not name.startswith("tests/test_docs")
    )


@cache
def words_of_sources() -> frozenset[str]:
    return frozenset(re.findall(r"\w+", sources()))


def text_of(name: str) -> str:
    """Return a page, with lines that a backslash continues joined to one."""
    return re.sub(r"\\\n\s*", "", (ROOT / name).read_text(encoding="utf-8"))


def spans(name: str) -> list[str]:
    """Return what stands in backticks in the text of a page."""
    return _SPAN.findall(_BLOCK.sub("", text_of(name)))


def code(name: str) -> str:
    """Return all that a page shows as code, in the text or in blocks."""
    return "\n".join([*_BLOCK.findall(text_of(name)), *spans(name)])


def is_placeholder(path: str) -> bool:
    return any(part.isupper() and "." not in part for part in path.split("/"))


@pytest.mark.parametrize("name", NAMES)
def test_every_path_exists(name: str) -> None:
    missing = [
        span
        for span in spans(name)
        if _PATH.fullmatch(span)
        and span.split("/")[0] in top_folders()
        and not is_placeholder(span)
        and not (ROOT / span).exists()
    ]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_every_link_has_a_target(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in _LINK.findall(text_of(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def anchors(file: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_named_module_and_attribute_exists(name: str) -> None:
    """`ml.pixels`, or `accounts.access.may`."""
    missing = [
        span
        for span in spans(name)
        if _DOTTED.fullmatch(span)
        and span.split(".")[0] in top_folders()
        and not (ROOT / span).exists()
        and not is_module_or_name(span)
    ]
    assert not missing


def is_module_or_name(dotted: str) -> bool:
    """Whether it names a module, a package or something that a module defines."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    return module.is_file() and path.name in re.findall(r"\w+", module.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_backticks_occurs_in_the_code(name: str) -> None:
    """Functions, reason codes, figures, settings: `snake_case`, `CAPITALS_SO`."""
    unknown = [
        span
        for span in spans(name)
        if re.fullmatch(r"[a-z]+\d*(_[a-z0-9]+)+|[A-Z]+(_[A-Z0-9]+)+", span)
        and not span.startswith("val_")  # keys that a measurement composes
        and span not in words_of_sources()
        and span not in READ_ELSEWHERE
    ]
    assert not unknown


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_named_in_a_sentence_exists(name: str) -> None:
    names = re.findall(r"(?<![\w/.-])[A-Z]+(?:_[A-Z0-9]+)+\b", text_of(name))
    unknown = set(names) - words_of_sources() - READ_ELSEWHERE

    assert not unknown


@pytest.mark.slow  # commands that train import Keras
@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_and_accepts_the_options(name: str) -> None:
    wrong = []
    for command, rest in _COMMAND.findall(code(name)):
        if command not in get_commands():
            wrong.append(f"manage.py {command}")
            continue
        known = options_of(command)
        wrong += [
            f"manage.py {command} {option}"
            for option in _OPTION.findall(rest)
            if option not in known
        ]
    assert not wrong


@cache
def options_of(command: str) -> frozenset[str]:
    app = get_commands()[command]
    loaded = app if isinstance(app, BaseCommand) else load_command_class(app, command)
    parser = loaded.create_parser("manage.py", command)
    return frozenset(
        option for action in parser._actions for option in action.option_strings
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    assert set(_TARGET.findall(code(name))) <= targets


def table_rows(page: Path, *, first_header: str) -> Iterator[list[str]]:
    """Yield the cells of the rows of the table whose first header this is."""
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0].strip() == first_header:
            inside = True
        elif inside and not set(line) <= set("|- "):
            yield cells


def environment_variables() -> dict[str, str | None]:
    """Return what settings.py reads from the environment, with plain defaults."""
    variables: dict[str, str | None] = {}
    for node in ast.walk(ast.parse(SETTINGS.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = ast.unparse(node.func)
        name = node.args[0]
        if not (called.startswith("env.") or called == "_one_of"):
            continue
        if isinstance(name, ast.Constant) and str(name.value).isupper():
            variables[str(name.value)] = variables.get(str(name.value)) or _default_of(
                node
            )
    return variables


def _default_of(call: ast.Call) -> str | None:
    """Return the default as docs write it; None where it is computed or empty."""
    values = [*call.args[1:], *(word.value for word in call.keywords)]
    if not values:
        return None
    value = values[0]
    if isinstance(value, ast.List) and len(value.elts) == 1:
        value = value.elts[0]
    if not isinstance(value, ast.Constant) or value.value == "":
        return None
    written = str(value.value)
    return written.lower() if isinstance(value.value, bool) else written


def documented_settings() -> dict[str, str]:
    rows = table_rows(DEPLOYMENT, first_header="variable")
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def test_deployment_lists_exactly_what_settings_read() -> None:
    assert set(documented_settings()) == set(environment_variables())


def test_deployment_gives_the_true_defaults() -> None:
    written = documented_settings() | {"SECURE_HSTS_SECONDS": "31536000"}
    wrong = {
        name: (written[name], default)
        for name, default in environment_variables().items()
        if default is not None and written[name] != default
    }
    assert not wrong


def test_security_gives_each_action_the_roles_that_have_it() -> None:
    rows = table_rows(SECURITY, first_header="action (also the name of a scope)")
    written = {
        row[0].strip("`"): {*Role.values}
        if row[2] == "all"
        else set(row[2].split(", "))
        for row in rows
    }

    assert written == {
        action.value: {role for role in ALLOWED if action in ALLOWED[role]}
        for action in Action
    }


def test_the_guide_quotes_the_present_texts_of_pages() -> None:
    """What stands in italics in the user's guide is a text of the pages."""
    guide = re.sub(r"\s+", " ", text_of("docs/users-guide.md"))
    quoted = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", guide)
    shown = sources().lower()
    missing = [
        text
        for text in quoted
        if not text.endswith(".") and text.removesuffix(" …").lower() not in shown
    ]
    assert quoted
    assert not missing


def test_architecture_counts_the_style_sheets() -> None:
    written = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    numbers = {9: "nine", 10: "ten", 11: "eleven"}
    style_sheets = list((ROOT / "static" / "css").glob("*.css"))

    assert f"{numbers[len(style_sheets)]} style sheets" in written
