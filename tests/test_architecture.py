"""The structure of the code: who imports whom, and how modules are named."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPS = ("chestx_site", "diagnoses", "patients", "accounts", "ml")
HEAVY = ("keras", "tensorflow", "openvino", "jax", "torch")

# Imports point down; `ml` imports nothing of ours.
MAY_IMPORT = {
    "accounts": ("accounts",),
    "patients": ("patients", "accounts", "ml.pixels", "ml.errors"),
    "diagnoses": ("diagnoses", "patients", "accounts", "ml"),
    "chestx_site": ("chestx_site", "diagnoses", "patients", "accounts", "ml"),
    "ml": ("ml",),
}
# `except Exception` belongs where anything may come and must be answered.
BROAD_EXCEPT_ALLOWED = {"diagnoses/tasks.py", "chestx_site/web/problems.py"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "misc"}


@cache
def source_files() -> tuple[Path, ...]:
    """Return the Python files of the project that Git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    return tuple(
        ROOT / name for name in sorted(set(listed)) if name and (ROOT / name).exists()
    )


def app_files(*apps: str) -> list[Path]:
    return [file for file in source_files() if file.relative_to(ROOT).parts[0] in apps]


def written_files() -> list[Path]:
    """Return the files of the apps that people wrote: no migrations."""
    return [file for file in app_files(*APPS) if "migrations" not in file.parts]


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def place(file: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{file.relative_to(ROOT)}{line}"


def imported_names(node: ast.AST) -> Iterator[str]:
    """Yield the full names that an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(file: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(parsed(file)):
        for name in imported_names(node):
            yield node, name


def is_below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in packages)


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_there_is_code_to_look_at() -> None:
    for app in APPS:
        assert app_files(app), f"no file of {app} is found"


@pytest.mark.parametrize("app", APPS)
def test_imports_point_down(app: str) -> None:
    wrong = [
        f"{place(file, node)} imports {name}"
        for file in app_files(app)
        for node, name in imports(file)
        if is_below(name, APPS) and not is_below(name, MAY_IMPORT[app])
    ]
    assert not wrong, "\n".join(wrong)


def test_ml_knows_no_django() -> None:
    wrong = [
        place(file, node)
        for file in app_files("ml")
        for node, name in imports(file)
        if is_below(name, ("django", "rest_framework", "celery"))
    ]
    assert not wrong, "\n".join(wrong)


def test_packages_of_ml_are_imported_module_by_module() -> None:
    """Their `__init__.py` says what belongs there, and imports nothing."""
    wrong = [
        place(file)
        for file in app_files("ml")
        if file.name == "__init__.py"
        and not (len(parsed(file).body) == 1 and ast.get_docstring(parsed(file)))
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_relatively() -> None:
    wrong = [
        place(file, node)
        for file in app_files(*APPS)
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_inside_functions() -> None:
    """Except Keras and OpenVINO in `ml`, and receivers in AppConfig.ready."""
    wrong = []
    for file in written_files():
        for function in functions(file):
            for node in ast.walk(function):
                for name in imported_names(node):
                    if not _may_be_imported_late(file, function.name, name):
                        wrong.append(f"{place(file, node)} imports {name}")
    assert not wrong, "\n".join(wrong)


def _may_be_imported_late(file: Path, function: str, name: str) -> bool:
    in_ml = file.relative_to(ROOT).parts[0] == "ml"
    in_ready = file.name == "apps.py" and function == "ready"
    return (in_ml and is_below(name, HEAVY)) or (
        in_ready and any(part in name for part in (".receivers", ".signals."))
    )


def test_web_and_supervisor_import_no_neural_network_library() -> None:
    """Nor what imports one, however far down; another test asks a real gunicorn."""
    start = [
        file
        for file in app_files("chestx_site", "diagnoses", "patients", "accounts")
        if not {"management", "benchmarks"} & set(file.parts)
    ]
    loaded = loaded_by(start)
    wrong = [
        f"{place(file)} imports {name}"
        for file in loaded
        for name in names_imported_on_load(file)
        if is_below(name, HEAVY)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_patients_may_use_of_ml_stays_light() -> None:
    start = [ROOT / "ml" / name for name in ("pixels.py", "overlay.py", "errors.py")]
    wrong = [
        f"{place(file)} imports {name}"
        for file in loaded_by(start)
        for name in names_imported_on_load(file)
        if is_below(name, (*HEAVY, "scipy", "matplotlib", "django"))
    ]
    assert not wrong, "\n".join(wrong)


def names_imported_on_load(file: Path) -> Iterator[str]:
    for node in parsed(file).body:
        yield from imported_names(node)


def loaded_by(start: list[Path]) -> set[Path]:
    """Return the files of ours that importing these files loads."""
    loaded: set[Path] = set()
    waiting = list(start)
    while waiting:
        file = waiting.pop()
        if file in loaded:
            continue
        loaded.add(file)
        for name in names_imported_on_load(file):
            module = name.replace(".", "/")
            parent = module.rpartition("/")[0]
            waiting += [
                found
                for path in (f"{module}.py", f"{parent}.py", f"{module}/__init__.py")
                if (found := ROOT / path).is_file()
            ]
    return loaded


def test_tensorflow_is_named_by_benchmarks_only() -> None:
    """They measure against it; everything else goes through Keras."""
    wrong = [
        place(file, node)
        for file in written_files()
        if "benchmarks" not in file.parts
        for node, name in imports(file)
        if is_below(name, ("tensorflow",))
    ]
    assert not wrong, "\n".join(wrong)


def test_everything_is_caught_only_where_everything_is_answered() -> None:
    wrong = [
        place(file, node)
        for file in written_files()
        if file.relative_to(ROOT).as_posix() not in BROAD_EXCEPT_ALLOWED
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node)
    ]
    assert not wrong, "\n".join(wrong)


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler catches everything and does not raise it again."""
    named = handler.type
    broad = named is None or (
        isinstance(named, ast.Name) and named.id in ("Exception", "BaseException")
    )
    raises = any(
        isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler)
    )
    return broad and not raises


def test_signatures_are_typed() -> None:
    wrong = [
        f"{place(file, function)} {function.name}"
        for file in written_files()
        for function in functions(file)
        if not _is_typed(function)
    ]
    assert not wrong, "\n".join(wrong)


def _is_typed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    parameters = [
        *function.args.posonlyargs,
        *function.args.args,
        *function.args.kwonlyargs,
    ]
    if parameters and parameters[0].arg in ("self", "cls"):
        parameters = parameters[1:]
    return function.returns is not None and all(
        parameter.annotation for parameter in parameters
    )


def test_modules_are_named_after_what_they_do() -> None:
    vague = [place(file) for file in source_files() if file.stem in VAGUE_NAMES]
    assert not vague, "\n".join(vague)


def test_nothing_is_left_to_do() -> None:
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XXX", "HACK"))
    mark = re.compile(rf"#.*\b({words})\b")
    left = [
        f"{place(file)}:{number}"
        for file in source_files()
        for number, line in enumerate(
            file.read_text(encoding="utf-8").splitlines(), start=1
        )
        if mark.search(line)
    ]
    assert not left, "\n".join(left)
