"""The structure of the code: which package imports which, and how modules are named.

docs/architecture.md draws the packages; these tests hold the drawing.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

# One test process parses the files.
pytestmark = pytest.mark.xdist_group("architecture")

ROOT = Path(__file__).parent.parent
APPS = ("chestx_site", "diagnoses", "patients", "accounts", "ml")
NETWORK_LIBRARIES = (
    "keras", "tensorflow", "openvino", "jax", "torch", "onnx", "onnxruntime",
)  # fmt: skip
# What only training, evaluation, commands and tests need.
ANALYSIS_LIBRARIES = ("sklearn", "scipy", "matplotlib", "jsonschema", "optuna", "nncf")

# Which apps an app may import. Imports point down; `ml` imports no other app.
MAY_IMPORT = {
    "accounts": ("accounts",),
    "patients": ("patients", "accounts", "ml.pixels", "ml.views", "ml.errors"),
    "diagnoses": ("diagnoses", "patients", "accounts", "ml"),
    "chestx_site": ("chestx_site", "diagnoses", "patients", "accounts", "ml"),
    "ml": ("ml",),
}
# Which packages of `ml` a package of `ml` may import, beside what inference needs:
# the modules at the root of `ml` and all packages that do not stand here.
ML_LAYERS = {
    "ml.datasets": ("ml.datasets",),
    "ml.exchange": ("ml.exchange",),
    "ml.training": ("ml.training", "ml.datasets"),
    "ml.evaluation": ("ml.evaluation", "ml.training", "ml.datasets"),
}
# Who may import these packages of `ml` from outside of it.
USED_BY = {
    "ml.datasets": ("diagnoses.management", "diagnoses.governance.acceptance"),
    "ml.exchange": ("diagnoses.management",),
    "ml.training": ("diagnoses.management",),
    "ml.evaluation": ("diagnoses.management", "diagnoses.governance.acceptance"),
}
# The ways into an app: they call the rest of it and never one another.
ENTRY_POINTS = {
    "patients": ("admin", "api", "management"),
    "diagnoses": ("admin", "api", "management", "pages"),
}
MOST_MODULES_IN_A_FOLDER = 15
# docs/architecture.md says why each of these stays one folder.
LARGE_FOLDERS = {"diagnoses/management/commands"}
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


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parsed(file)))


def place(file: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{file.relative_to(ROOT)}{line}"


def imported_names(node: ast.AST) -> Iterator[str]:
    """Yield the full names that an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports(file: Path) -> tuple[tuple[ast.AST, str], ...]:
    return tuple((node, name) for node in nodes(file) for name in imported_names(node))


def is_below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in packages)


def module_name(file: Path) -> str:
    """Return the dotted name of a module, that of its folder for `__init__.py`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if file.stem == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(file): file for file in written_files()}


@cache
def module_imports() -> dict[str, set[str]]:
    """Return for each module of the apps the modules of the apps that it imports."""
    graph: dict[str, set[str]] = {}
    for module, file in modules().items():
        imported = {_module_of(name) for _, name in imports(file)}
        graph[module] = {name for name in imported if name} - {module}
    return graph


def _module_of(name: str) -> str:
    """Return the module in which an imported name lies, "" if it is not ours."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


def packages_below(app: str) -> list[str]:
    """Return an app and all packages in it; for "", only the level of the apps."""
    if not app:
        return [""]
    return [
        name
        for name, file in modules().items()
        if is_below(name, (app,)) and file.name == "__init__.py"
    ]


def imports_between_parts(package: str) -> dict[str, set[str]]:
    """Return which parts of a package (modules, sub-packages) import which."""
    prefix = f"{package}." if package else ""

    def part_of(module: str) -> str:
        if not module.startswith(prefix):
            return ""
        return prefix + module.removeprefix(prefix).split(".")[0]

    graph: dict[str, set[str]] = {}
    for module, imported in module_imports().items():
        if part := part_of(module):
            others = {part_of(name) for name in imported} - {"", part}
            graph.setdefault(part, set()).update(others)
    return graph


def circles_in(graph: dict[str, set[str]]) -> list[str]:
    """Name what is left when everything that stands in no circle is taken away."""
    left = dict(graph)
    while True:
        targets = {name for imported in left.values() for name in imported}
        outside = {
            name
            for name, imported in left.items()
            if not imported & left.keys() or name not in targets
        }
        if not outside:
            break
        left = {
            name: imported - outside
            for name, imported in left.items()
            if name not in outside
        }
    return [
        f"{name} imports {', '.join(sorted(imported & left.keys()))}"
        for name, imported in sorted(left.items())
    ]


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("app", APPS)
def test_every_app_has_source_files(app: str) -> None:
    assert app_files(app)


def test_import_cycles_are_detected_and_chains_are_not() -> None:
    chain = {"a": {"b"}, "b": {"c"}, "c": set()}
    circle = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}

    assert not circles_in(chain)
    assert circles_in(circle) == ["b imports c", "c imports b"]


@pytest.mark.parametrize("app", APPS)
def test_packages_import_lower_layers_only(app: str) -> None:
    wrong = [
        f"{place(file, node)} imports {name}"
        for file in app_files(app)
        for node, name in imports(file)
        if is_below(name, APPS) and not is_below(name, MAY_IMPORT[app])
    ]
    assert not wrong, "\n".join(wrong)


def test_inference_modules_import_no_training_or_evaluation() -> None:
    """No import of training, evaluation, datasets or exchange below them."""
    wrong = [
        f"{place(file, node)} imports {name}"
        for file in app_files("ml")
        if not is_below(module_name(file), tuple(ML_LAYERS))
        for node, name in imports(file)
        if is_below(name, tuple(ML_LAYERS))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ML_LAYERS)
def test_ml_packages_import_lower_layers_only(package: str) -> None:
    """Evaluation may use training (it fits gates); training never evaluation."""
    wrong = [
        f"{place(file, node)} imports {name}"
        for file in app_files("ml")
        if is_below(module_name(file), (package,))
        for node, name in imports(file)
        if is_below(name, tuple(ML_LAYERS)) and not is_below(name, ML_LAYERS[package])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", USED_BY)
def test_only_commands_import_training_and_evaluation(package: str) -> None:
    """Except that accepting a model measures it; benchmarks may import anything."""
    wrong = [
        f"{place(file, node)} imports {name}"
        for file in app_files("chestx_site", "diagnoses", "patients", "accounts")
        if "benchmarks" not in file.parts
        and not is_below(module_name(file), USED_BY[package])
        for node, name in imports(file)
        if is_below(name, (package,))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("app", ENTRY_POINTS)
def test_entry_points_of_an_app_are_not_imported_within_it(app: str) -> None:
    """Admin, REST, pages and commands call the rest; only the site imports them."""
    entries = {f"{app}.{entry}" for entry in ENTRY_POINTS[app]}
    wrong = [
        f"{place(file, node)} imports {name}"
        for file in app_files(app)
        for node, name in imports(file)
        for entry in entries
        if is_below(name, (entry,)) and not is_below(module_name(file), (entry,))
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_have_no_import_cycle() -> None:
    circles = circles_in(module_imports())

    assert not circles, "\n".join(circles)


@pytest.mark.parametrize("package", ["", *APPS])
def test_parts_of_a_package_have_no_import_cycle(package: str) -> None:
    """The parts of each package, at every depth: its modules and its sub-packages."""
    circles = [
        circle
        for parent in packages_below(package)
        for circle in circles_in(imports_between_parts(parent))
    ]

    assert not circles, "\n".join(circles)


def test_ml_imports_no_django() -> None:
    wrong = [
        place(file, node)
        for file in app_files("ml")
        for node, name in imports(file)
        if is_below(name, ("django", "rest_framework", "celery"))
    ]
    assert not wrong, "\n".join(wrong)


def test_each_package_has_a_one_sentence_docstring() -> None:
    wrong = [
        place(file)
        for file in written_files()
        if file.name == "__init__.py"
        and not re.fullmatch(
            r"[A-Z`](?:[^.]|\.(?=\w))+\.", ast.get_docstring(parsed(file)) or ""
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_folders_with_many_modules_are_listed_and_explained() -> None:
    """Every folder that holds more modules stands in docs/architecture.md with why."""
    written = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = Counter(
        file.parent.relative_to(ROOT).as_posix()
        for file in source_files()
        if file.name != "__init__.py"
    )
    large = {name for name, n in modules.items() if n > MOST_MODULES_IN_A_FOLDER}

    assert large == LARGE_FOLDERS
    assert all(f"`{name}`" in written for name in LARGE_FOLDERS)


def test_packages_of_ml_are_imported_module_by_module() -> None:
    """Their `__init__.py` says what belongs there, and imports nothing."""
    wrong = [
        place(file)
        for file in app_files("ml")
        if file.name == "__init__.py"
        and not (len(parsed(file).body) == 1 and ast.get_docstring(parsed(file)))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_is_relative() -> None:
    wrong = [
        place(file, node)
        for file in app_files(*APPS)
        for node in nodes(file)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_is_inside_a_function() -> None:
    """Except the libraries of networks in `ml`, and receivers in AppConfig.ready."""
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
    return (in_ml and is_below(name, NETWORK_LIBRARIES)) or (
        in_ready and any(part in name for part in (".receivers", ".signals."))
    )


@pytest.mark.parametrize("library", NETWORK_LIBRARIES + ANALYSIS_LIBRARIES)
def test_web_and_workers_load_no_heavy_library(library: str) -> None:
    """Not even through other modules; another test looks into a real gunicorn.

    A worker loads Keras or OpenVINO later, inside the functions of `ml` that run them.
    """
    start = [
        file
        for file in app_files("chestx_site", "diagnoses", "patients", "accounts")
        if not {"management", "benchmarks"} & set(file.parts)
    ]
    wrong = [
        f"{place(file)} imports {name}"
        for file in loaded_by(start)
        for name in names_imported_on_load(file)
        if is_below(name, (library,))
    ]
    assert not wrong, "\n".join(wrong)


def test_inference_loads_no_analysis_library() -> None:
    start = [
        file
        for file in app_files("ml")
        if not is_below(module_name(file), tuple(ML_LAYERS))
    ]
    wrong = [
        f"{place(file)} imports {name}"
        for file in loaded_by(start)
        for name in names_imported_on_load(file)
        if is_below(name, ANALYSIS_LIBRARIES)
    ]
    assert not wrong, "\n".join(wrong)


def test_ml_modules_used_by_patients_load_no_heavy_library() -> None:
    start = [ROOT / "ml" / name for name in ("pixels.py", "overlay.py", "errors.py")]
    wrong = [
        f"{place(file)} imports {name}"
        for file in loaded_by(start)
        for name in names_imported_on_load(file)
        if is_below(name, (*NETWORK_LIBRARIES, *ANALYSIS_LIBRARIES, "django"))
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
                candidate
                for path in (f"{module}.py", f"{parent}.py", f"{module}/__init__.py")
                if (candidate := ROOT / path).is_file()
            ]
    return loaded


def test_only_benchmarks_import_tensorflow() -> None:
    """They measure against it; everything else goes through Keras."""
    wrong = [
        place(file, node)
        for file in written_files()
        if "benchmarks" not in file.parts
        for node, name in imports(file)
        if is_below(name, ("tensorflow",))
    ]
    assert not wrong, "\n".join(wrong)


def test_only_listed_places_catch_every_exception() -> None:
    wrong = [
        place(file, node)
        for file in written_files()
        if file.relative_to(ROOT).as_posix() not in BROAD_EXCEPT_ALLOWED
        for node in nodes(file)
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


def test_every_function_signature_is_typed() -> None:
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


def test_no_module_has_a_catch_all_name() -> None:
    vague = [place(file) for file in source_files() if file.stem in VAGUE_NAMES]
    assert not vague, "\n".join(vague)


def test_no_todo_is_left_in_the_code() -> None:
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
