"""`manage.py demo` as a user starts it: real servers, real signals, real crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chestx_site.supervision.processes import wait_until
from tests.chestx_site.programs import (
    ROOT,
    RunningDemo,
    environment,
    free_port,
    processes_of,
    short_folder,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROLES = (
    "radiologist",
    "clinician",
    "technologist",
    "data_scientist",
    "auditor",
    "admin",
    "integration",
)


@pytest.fixture(scope="module")
def demo() -> Generator[RunningDemo, None, None]:
    """Return a demo that runs for all tests of this file."""
    with short_folder() as folder:
        running = RunningDemo(folder / "var")
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.end()


def test_start_prints_each_step_then_address_and_accounts(demo: RunningDemo) -> None:
    assert wait_until(lambda: "Ctrl-C" in demo.output, timeout_s=30)
    steps = [
        "Starting PostgreSQL and Redis",
        "Updating the database tables",
        "Registering the models",
        "Starting one inference worker",
        "Creating the users",
        "Starting the web server",
        f"http://127.0.0.1:{demo.port}/",
        ", ".join(ROLES),
    ]
    places = [demo.output.find(step) for step in steps]
    assert -1 not in places, demo.output
    assert places == sorted(places)


def test_the_demo_user_of_every_role_can_sign_in(demo: RunningDemo) -> None:
    assert all(demo.token(role) for role in ROLES)


def test_demo_patients_appear(demo: RunningDemo) -> None:
    assert wait_until(lambda: ": demo patients" in demo.output, timeout_s=300)
    assert "Loaded: demo patients" in demo.output
    status, page = demo.get("/api/v1/patients/", token=demo.token("radiologist"))
    assert status == 200
    assert page["results"]


def test_the_fastest_runner_is_measured_when_the_patients_are_loaded(
    demo: RunningDemo,
) -> None:
    assert wait_until(lambda: ": demo patients" in demo.output, timeout_s=300)
    kept = demo.var_dir / "inference" / "runners.json"
    assert wait_until(kept.exists, timeout_s=300)


def test_readiness_is_complete_once_the_worker_listens(demo: RunningDemo) -> None:
    whole = {
        name: "ok" for name in ("status", "database", "storage", "broker", "worker")
    }
    assert wait_until(lambda: demo.get("/readyz")[1] == whole, timeout_s=60)


def test_web_and_supervisor_load_no_neural_network_library(demo: RunningDemo) -> None:
    """After patients were loaded and pages asked for; only the worker may."""
    for pid in demo.pids("gunicorn") | {demo.process.pid}:
        mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        for library in ("openvino", "tensorflow", "onnxruntime"):
            assert library not in mapped


def test_the_default_model_is_loaded_before_the_demo_says_ready(
    demo: RunningDemo,
) -> None:
    assert wait_until(lambda: "ChestX is ready" in demo.output, timeout_s=120)
    assert (demo.var_dir / "worker-ready").exists()
    assert "still loading" not in demo.output


@pytest.mark.parametrize("parts", [("celery", "worker"), ("gunicorn",), ("sweeper",)])
def test_a_killed_child_process_is_restarted(
    demo: RunningDemo, parts: tuple[str, ...]
) -> None:
    before = demo.pids(*parts)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(
        lambda: bool(demo.pids(*parts) - before) and demo.get("/readyz")[0] == 200,
        timeout_s=60,
    )
    assert not demo.pids(*parts) & before


@pytest.mark.parametrize("parts", [("celery", "worker"), ("gunicorn",)])
def test_pool_children_end_with_a_killed_main_process(
    demo: RunningDemo, parts: tuple[str, ...]
) -> None:
    """Otherwise a worker without a supervisor keeps claiming images."""
    assert wait_until(lambda: len(demo.pids(*parts)) > 1, timeout_s=60)
    before = demo.pids(*parts)
    os.kill(min(before), signal.SIGKILL)
    assert wait_until(lambda: not demo.pids(*parts) & before, timeout_s=4)
    assert wait_until(lambda: demo.get("/readyz")[0] == 200, timeout_s=60)


def test_a_second_demo_on_the_same_folder_is_refused(demo: RunningDemo) -> None:
    second = _try_demo(VAR_DIR=str(demo.var_dir), PORT=str(free_port()))
    assert second.returncode == 1
    assert f"ChestX already runs on {demo.var_dir}" in second.stderr


def test_the_error_names_a_port_in_use(demo: RunningDemo) -> None:
    with short_folder() as folder:
        second = _try_demo(VAR_DIR=str(folder / "var"), PORT=str(demo.port))
    assert second.returncode == 1
    assert f"Another program uses port {demo.port}" in second.stderr


def test_production_settings_are_refused() -> None:
    refused = _try_demo(
        CHESTX_ENV="production",
        SECRET_KEY="x" * 60,
        ALLOWED_HOSTS="chestx.example.org",
        DATABASE_URL="postgresql://chestx@localhost/chestx",
        REDIS_URL="redis://localhost:6379/0",
        PROXY_COUNT="0",
    )
    assert refused.returncode == 1
    assert "does not run with CHESTX_ENV=production" in refused.stderr


def test_an_external_database_is_refused() -> None:
    refused = _try_demo(DATABASE_URL="postgresql://chestx@localhost/chestx")
    assert refused.returncode == 1
    assert "Unset DATABASE_URL" in refused.stderr


def test_a_command_without_a_database_says_what_to_do() -> None:
    with short_folder() as folder:
        completed = subprocess.run(
            [sys.executable, "manage.py", "showmigrations"],
            cwd=ROOT,
            env=environment(VAR_DIR=str(folder / "var")),
            capture_output=True,
            text=True,
            check=False,
        )
    assert completed.returncode == 1
    assert "or set DATABASE_URL" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_the_demo_stops_in_time_and_keeps_its_data_after_sigkill() -> None:
    with short_folder() as folder, ended_demos() as demos:
        first = demos(folder / "var")
        first.wait_until_ready()
        token = first.token("radiologist")
        assert first.stop(signal.SIGTERM) < 15, first.output
        assert first.process.returncode == 0, first.output
        assert not processes_of(first.var_dir)

        second = demos(first.var_dir, port=first.port)
        second.wait_until_ready()
        # The token lives in the record.
        assert second.get("/api/v1/patients/", token=token)[0] == 200
        second.process.kill()
        second.process.wait()
        assert wait_until(lambda: not processes_of(second.var_dir), timeout_s=4)

        third = demos(first.var_dir, port=first.port)
        third.wait_until_ready()
        assert third.get("/api/v1/patients/", token=token)[0] == 200
        assert third.stop(signal.SIGINT) < 15, third.output
        assert third.process.returncode == 0, third.output


@contextmanager
def ended_demos() -> Generator[Callable[..., RunningDemo], None, None]:
    """Give a way to start demos, and end what still runs of them."""
    started: list[RunningDemo] = []

    def start(var_dir: Path, *, port: int | None = None) -> RunningDemo:
        started.append(RunningDemo(var_dir, port=port))
        return started[-1]

    try:
        yield start
    finally:
        for running in started:
            running.end()


def _try_demo(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
