"""No installed distribution is under GPL or AGPL."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions

import pytest

# LGPL is fine: we use these libraries as they are.
FORBIDDEN = re.compile(
    r"\bA?GPL|(?<!Lesser )(?<!Library or Lesser )\bGeneral Public License"
    r"|Affero General Public",
    re.IGNORECASE,
)
# Some put the whole text into the field; its name stands at the top.
HEADING_CHARACTERS = 300

EXCEPTIONS = {
    "text-unidecode": "under the Artistic License or the GPL, as the user chooses; "
    "we choose the Artistic License",
}


def declared_licences(distribution: Distribution) -> list[str]:
    """Return the declared licences of a package, else the start of its licence file."""
    metadata = distribution.metadata
    declared = [
        metadata.get("License-Expression") or "",
        (metadata.get("License") or "")[:HEADING_CHARACTERS],
        *(
            classifier
            for classifier in metadata.get_all("Classifier") or []
            if classifier.startswith("License ::")
        ),
    ]
    if not any(declared):
        declared = [
            file.read_text()[:HEADING_CHARACTERS]
            for file in distribution.files or []
            if re.search(r"dist-info/.*(licen[cs]e|copying)", str(file), re.IGNORECASE)
        ]
    return [licence for licence in declared if licence.strip()]


def is_forbidden(licence: str) -> bool:
    """Return whether a licence is GPL or AGPL, and not LGPL."""
    return bool(FORBIDDEN.search(licence.replace("LGPL", "").replace("Lesser GPL", "")))


INSTALLED = sorted(
    {distribution.name: distribution for distribution in distributions()}.values(),
    key=lambda distribution: distribution.name.lower(),
)


def test_every_installed_licence_is_known_and_allowed() -> None:
    unknown, wrong = [], []
    for distribution in INSTALLED:
        licences = declared_licences(distribution)
        if not licences:
            unknown.append(distribution.name)
        elif any(map(is_forbidden, licences)) and distribution.name not in EXCEPTIONS:
            wrong.append(f"{distribution.name}: {' | '.join(licences)}")
    assert not unknown, f"without a licence: {unknown}"
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_installed() -> None:
    """An exception for a removed package would hide its return."""
    names = {distribution.name for distribution in INSTALLED}
    assert names.issuperset(EXCEPTIONS)


@pytest.mark.parametrize(
    "licence",
    [
        "GPL-3.0-or-later",
        "AGPL-3.0-only",
        "GPLv2+",
        "License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
        "GNU AFFERO GENERAL PUBLIC LICENSE Version 3",
    ],
)
def test_gpl_licences_are_recognised(licence: str) -> None:
    assert is_forbidden(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "LGPL-3.0-only",
        "GNU Lesser General Public License v3 (LGPLv3)",
        "OSI Approved :: GNU Library or Lesser General Public License (LGPL)",
        "MIT",
        "Apache-2.0",
    ],
)
def test_other_licences_are_not_taken_for_gpl(licence: str) -> None:
    assert not is_forbidden(licence)
