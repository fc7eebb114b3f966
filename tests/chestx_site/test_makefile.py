"""The targets of the Makefile."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from chestx_site.supervision.processes import wait_until
from tests.chestx_site.programs import (
    ROOT,
    RunningDemo,
    environment,
    processes_of,
    short_folder,
)

INSTALLED = ROOT / ".venv" / ".installed-run"


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_the_default_and_lists_every_command() -> None:
    help_text = make().stdout
    phony = re.search(
        r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE
    )
    assert phony is not None
    for command in phony[1].split():
        assert f"make {command} " in help_text


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_another_python_version_is_refused_with_a_message(
    version: tuple[int, int],
) -> None:
    """The check in the recipe, run with a made-up version."""
    recipe = (ROOT / "Makefile").read_text()
    check = re.search(r"\$\(PYTHON\) -c '(.*?)'$", recipe, flags=re.MULTILINE)
    assert check is not None
    pretend = (
        "import sys\n"
        f"sys.version_info = ({version[0]}, {version[1]}, 0)\n"
        f"sys.version = '{version[0]}.{version[1]}.0 made up'\n"
    )
    # make itself turns $$ into $, and knows no other escape here.
    done = subprocess.run(
        ["python3", "-c", pretend + check[1].replace("$$", "$")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"is {version[0]}.{version[1]}.0" in done.stdout
    assert "ChestX needs Python 3.11, 3.12 or 3.13" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    not INSTALLED.exists(), reason="the environment was not made by make"
)
@pytest.mark.timeout(300)
def test_sigterm_to_make_stops_everything() -> None:
    """Measured: where the recipe does not exec, the supervisor is orphaned."""
    with short_folder() as folder:
        demo = RunningDemo(folder / "var", "make", "demo")
        try:
            demo.wait_until_ready()
            assert demo.stop(signal.SIGTERM) < 15
            assert wait_until(lambda: not processes_of(demo.var_dir), timeout_s=1)
            assert "Stopped" in demo.output
        finally:
            demo.end()
