"""Errors of `ml`: literal sentences with parameters, for makemessages and for JSON."""

from __future__ import annotations

import ast
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import ml
from chestx_site.management.commands.makemessages import ML_ERRORS
from ml.errors import ImageError, ModelError

ROOT = Path(ml.__file__).parent


def errors_of(path: Path) -> Iterator[ast.Call]:
    """Yield the calls in a module that build an error of `ml`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ML_ERRORS:
            yield node


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_error_has_a_literal_message_with_its_params(path: Path) -> None:
    for call in errors_of(path):
        where = f"{path.name}:{call.lineno}"
        assert call.args, where
        sentence = call.args[0]
        assert isinstance(sentence, ast.Constant), where
        assert isinstance(sentence.value, str), where
        params = next((k.value for k in call.keywords if k.arg == "params"), None)
        if params is None:
            assert "%(" not in sentence.value, where
            continue
        assert isinstance(params, ast.Dict), where
        names = [ast.literal_eval(key) for key in params.keys if key is not None]
        text = sentence.value % dict.fromkeys(names, 0)
        assert text != sentence.value, where
        for name in names:
            assert f"%({name})" in sentence.value, where


def test_an_error_survives_pickling_and_json() -> None:
    error = ModelError("%(count)d weights", params={"count": 3}, reason_code="few")
    for copy in (
        pickle.loads(pickle.dumps(error)),  # noqa: S301 - our own bytes
        ModelError.from_json(json.loads(json.dumps(error.to_json()))),
    ):
        assert isinstance(copy, ModelError)
        assert (str(copy), copy.reason_code) == ("3 weights", "few")
        assert copy.params == {"count": 3}


def test_an_error_without_a_reason_code_has_the_default_of_its_class() -> None:
    assert ImageError("No pixels.").reason_code == "unreadable_pixels"
