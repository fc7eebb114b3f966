"""Folders and sockets of the embedded servers, computed without disk access."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from environ import Env

from chestx_site.embedded import places


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_urls_touch_no_disk(tmp_path: Path) -> None:
    var_dir = tmp_path / "not there"
    places.database_url(var_dir)
    places.redis_url(var_dir)
    assert not var_dir.exists()


@pytest.mark.usefixtures("ordinary_user")
def test_sockets_are_in_var_dir_where_its_path_is_short() -> None:
    assert places.socket_dir(Path("/srv/chestx/var")) == Path("/srv/chestx/var/run")


@pytest.mark.usefixtures("ordinary_user")
@pytest.mark.parametrize("depth", range(1, 12))
def test_socket_paths_are_never_too_long(depth: int) -> None:
    var_dir = Path("/", *["a-folder-name"] * depth, "var")
    postgresql = places.postgresql_socket_dir(var_dir) / places.POSTGRESQL_SOCKET_NAME
    assert len(str(postgresql)) <= places.LONGEST_SOCKET_PATH
    assert len(str(places.redis_socket(var_dir))) <= places.LONGEST_SOCKET_PATH


@pytest.mark.usefixtures("ordinary_user")
def test_two_long_var_dirs_share_no_socket() -> None:
    first, second = (Path("/", "x" * 120, name) for name in ("one", "two"))
    assert places.socket_dir(first) != places.socket_dir(second)


@pytest.mark.usefixtures("ordinary_user")
def test_database_url_reads_back_through_django_environ() -> None:
    var_dir = Path("/srv/with space/and%percent/Upper/var")
    parsed = Env.db_url_config(places.database_url(var_dir))
    assert parsed["ENGINE"] == "django.db.backends.postgresql"
    assert parsed["NAME"] == "chestx"
    assert parsed["OPTIONS"]["host"] == str(places.postgresql_socket_dir(var_dir))


@pytest.mark.usefixtures("ordinary_user")
def test_redis_url_names_its_database() -> None:
    url = places.redis_url(Path("/srv/var"), database=3)
    assert url == "redis+socket:///srv/var/run/redis/redis.sock?virtual_host=3"


@pytest.mark.usefixtures("root")
def test_root_keeps_data_where_postgresql_can_reach_them(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert places.ROOT_STATE_DIR in places.state_dir(closed / "var").parents


@pytest.mark.usefixtures("ordinary_user")
def test_an_ordinary_user_keeps_data_in_var_dir(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert places.state_dir(closed / "var") == closed / "var"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(places.EmbeddedServiceError, match="belongs to another user"):
        places.prepare_dir(tmp_path / "link")


def test_a_created_folder_can_be_traversed_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        places.prepare_dir(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700
