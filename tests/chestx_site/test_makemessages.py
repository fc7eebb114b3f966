"""The command that collects texts for translation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = ("manage.py", "chestx_site", "accounts", "patients", "diagnoses", "ml")
GETTEXT = ("xgettext", "msguniq", "msgmerge", "msgattrib", "msgfmt")


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, GETTEXT)), reason="GNU gettext is not installed"
)
def test_texts_of_views_templates_and_ml_are_collected(tmp_path: Path) -> None:
    """In a copy: the command writes beside the sources."""
    for name in (*PROJECT, "templates"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "locale").mkdir()
    (tmp_path / "ml" / "example.py").write_text(
        "from ml.errors import ImageRejected\n\n\ndef refuse() -> None:\n"
        "    raise ImageRejected(\n"
        '        "An example with %(name)s.", params={}, reason_code="example"\n'
        "    )\n\n\ndef heading(translate: Translate) -> str:\n"
        '    return translate("An example of a report")\n'
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "makemessages", "-l", "de", "--no-location"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    catalog = tmp_path / "locale" / "de" / "LC_MESSAGES" / "django.po"
    texts = catalog.read_text(encoding="utf-8")
    assert 'msgid "An example with %(name)s."' in texts
    assert 'msgid "An example of a report"' in texts
    assert 'msgid "User name or password is wrong."' in texts
    assert "msgid_plural" in texts
    checked = subprocess.run(
        ["msgfmt", "--check", "--output-file=/dev/null", str(catalog)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
