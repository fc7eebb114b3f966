"""A real gunicorn serves the site and loads no neural network library."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from django.urls import reverse

from chestx_site.supervision.processes import wait_until
from tests.chestx_site.programs import ROOT, free_port

HEAVY = {"keras", "tensorflow", "openvino", "jax", "torch", "onnxruntime"}


@pytest.mark.slow
def test_a_web_process_never_loads_a_neural_network_library(tmp_path: Path) -> None:
    port, note = free_port(), tmp_path / "modules"
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn"),
            *("-c", "tests/chestx_site/web/gunicorn_probe.py"),
            *("--bind", f"127.0.0.1:{port}", "chestx_site.wsgi"),
        ],
        cwd=ROOT,
        env={**os.environ, "LOADED_MODULES_FILE": str(note)},
    )
    try:
        for path in ("/healthz", reverse("sign-in"), "/api/v1/patients/", "/admin/"):
            url = f"http://127.0.0.1:{port}{path}"
            assert wait_until(partial(_answers, url), timeout_s=60, interval_s=0.2)
        assert wait_until(note.exists, timeout_s=5)
    finally:
        server.terminate()
        server.wait(30)
    loaded = {name.split(".")[0] for name in note.read_text().split("\n")}
    assert {"django", "patients", "diagnoses", "accounts"} <= loaded
    assert not loaded & HEAVY


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - our own address
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
