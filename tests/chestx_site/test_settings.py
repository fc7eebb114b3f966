"""Settings come from the environment; production refuses an incomplete one."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pydicom.config
import pytest
from django.conf import settings

from accounts.models import FailedSignIns
from tests.chestx_site.programs import ROOT, environment

PRODUCTION = {
    "CHESTX_ENV": "production",
    "SECRET_KEY": "made-up-and-long-enough-for-the-deployment-checks-4711-abcdefgh",
    "ALLOWED_HOSTS": "chestx.example.org",
    "DATABASE_URL": "postgresql://chestx:made-up@database.example.org/chestx",
    "REDIS_URL": "redis://queue.example.org:6379/0",
    "PROXY_COUNT": "0",
}


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def setting(name: str, **variables: str) -> str:
    """Return a setting as a fresh process sees it."""
    completed = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"from chestx_site import settings; print(settings.{name})",
        ],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "PROXY_COUNT"]
)
def test_production_refuses_to_start_without_required_settings(name: str) -> None:
    half = {key: value for key, value in PRODUCTION.items() if key != name}
    refused = manage("check", **half)
    assert refused.returncode != 0
    assert f"CHESTX_ENV=production needs {name}" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRET_KEY", "x" * 49, "SECRET_KEY has 49 characters"),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS has a '*'"),
        ("ALLOWED_HOSTS", "chestx.example.org,*", "ALLOWED_HOSTS has a '*'"),
        ("PROXY_COUNT", "-1", "PROXY_COUNT is -1"),
    ],
)
def test_production_refuses_to_start_with_weak_settings(
    name: str, value: str, sentence: str
) -> None:
    refused = manage("check", **(PRODUCTION | {name: value}))
    assert refused.returncode != 0
    assert sentence in refused.stderr


@pytest.mark.slow
def test_production_settings_pass_the_deployment_checks() -> None:
    checked = manage("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_an_unknown_environment_is_refused() -> None:
    refused = manage("check", CHESTX_ENV="staging")
    assert refused.returncode != 0
    assert "it must be 'development' or 'production'" in refused.stderr


@pytest.mark.slow
def test_a_lease_over_a_minute_is_refused() -> None:
    refused = manage("check", INFERENCE_LEASE_S="61")
    assert refused.returncode != 0
    assert "at most 60" in refused.stderr


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file")
    key = setting("SECRET_KEY", SECRET_KEY_FILE=str(tmp_path / "key"))
    assert key == "from-a-file"


def test_development_allows_local_hosts_only() -> None:
    assert setting("ALLOWED_HOSTS") == "['localhost', '127.0.0.1', '[::1]']"


def test_state_is_in_the_var_folder_by_default() -> None:
    nothing = {"VAR_DIR": "", "PATH": os.environ["PATH"]}
    lines = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from chestx_site import settings;"
            "print(settings.VAR_DIR); print(settings.REDIS_URL)",
        ],
        cwd=ROOT,
        env={name: value for name, value in nothing.items() if value},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    assert lines[0] == str(ROOT / "var")
    assert lines[1].startswith("redis+socket://")


def test_every_setting_is_documented() -> None:
    source = (ROOT / "chestx_site/settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'(?:env\.[a-z]+|_one_of)\(\s*"([A-Z_]+)"', source))
    guide = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", guide, flags=re.MULTILINE))
    assert len(read) > 20
    assert documented == read


def test_sessions_cache_and_lock_out_do_not_use_redis() -> None:
    """With the broker down people sign in and read on."""
    assert settings.SESSION_ENGINE == "django.contrib.sessions.backends.db"
    backends = [cache["BACKEND"] for cache in settings.CACHES.values()]
    assert not [backend for backend in backends if "redis" in backend.lower()]
    assert (
        settings.AUTHENTICATION_BACKENDS[0]
        == "accounts.sign_in.backends.LockOutBackend"
    )
    assert FailedSignIns.objects.db == "default"


def test_messages_of_pydicom_about_headers_are_not_logged() -> None:
    log = StringIO()
    handler = logging.StreamHandler(log)
    logging.root.addHandler(handler)
    try:
        pydicom.config.debug(False, False)  # as it does when it is imported
        logging.getLogger("pydicom.values").warning("Invalid value: 'DOE^JANE'")
        logging.getLogger("patients").warning("An image was refused")
    finally:
        logging.root.removeHandler(handler)
    assert log.getvalue() == "An image was refused\n"
