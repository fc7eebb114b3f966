"""Print the ten longest files and functions, for `make lint`. It never fails."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
APPS = ("chestx_site", "diagnoses", "patients", "accounts", "ml")
SHOWN = 10


def length_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def main() -> None:
    """Print both lists, longest first."""
    files: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for app in APPS:
        for file in sorted((ROOT / app).rglob("*.py")):
            if "migrations" in file.parts:
                continue
            source = file.read_text(encoding="utf-8")
            name = str(file.relative_to(ROOT))
            files.append((len(source.splitlines()), name))
            functions += [
                (length_without_docstring(node), f"{name}:{node.lineno} {node.name}")
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            ]
    for title, lengths in (("files", files), ("functions", functions)):
        sys.stdout.write(f"The longest {title}:\n")
        for lines, name in sorted(lengths, reverse=True)[:SHOWN]:
            sys.stdout.write(f"  {lines:5} {name}\n")


if __name__ == "__main__":
    main()
