"""Which view a header names, in the words that devices and people use."""

from __future__ import annotations

import pytest

from ml.views import is_lateral, view_named_in, view_of

LATERALS = (
    *("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LLATERAL", "RLATERAL"),
    *("LEFT LATERAL", "RIGHT LATERAL", "L LAT", "R LAT", "LT LAT", "XTABLE LATERAL"),
    *("X-TABLE", "Thorax lateralis", "thorax lat.", "Thorax seitlich", "Torax perfil"),
    *("chest_lateral", "LATERO-LATERAL", "Rx torace latero laterale", "LL erect"),
)
OTHERS = (
    *("", "PA", "AP", "P.A.", "CHEST PA", "Thorax p.a.", "AP SUPINE", "PORTABLE"),
    *("CHEST PA + LAT", "PA AND LATERAL", "thorax pa/lat", "FRONTAL AND LATERAL"),
    *("LLD", "RLD", "LEFT LATERAL DECUBITUS", "lat decub", "BILATERAL", "PLATE"),
    *("LAO", "COLLATERAL", "FLAT PANEL"),
)


@pytest.mark.parametrize("text", LATERALS)
def test_a_lateral_is_recognised(text: str) -> None:
    assert is_lateral(text)


@pytest.mark.parametrize("text", OTHERS)
def test_other_views_are_not_lateral(text: str) -> None:
    assert not is_lateral(text)


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("CHEST PA", "PA"),
        ("Thorax a.p.", "AP"),
        ("left lateral", "LL"),
        ("R LAT", "RL"),
        ("Thorax lateralis", "LATERAL"),
        ("PA + LAT", ""),
    ],
)
def test_a_text_that_names_one_view_gives_the_view(text: str, view: str) -> None:
    assert view_named_in(text) == view


@pytest.mark.parametrize(
    ("code", "view"),
    [
        ("272479007", "PA"),
        ("R-10206", "AP"),
        ("399173006", "LL"),
        ("R-10232", "RL"),
        ("399067008", "LATERAL"),
    ],
)
def test_a_coded_view_needs_no_meaning(code: str, view: str) -> None:
    assert view_of(view_position="", codes=[(code, "")]) == view


def test_view_position_takes_precedence() -> None:
    assert (
        view_of(
            view_position="pa",
            codes=[("399067008", "lateral")],
            descriptions=["CHEST LATERAL"],
            row_direction="A",
        )
        == "PA"
    )


def test_rows_toward_the_front_are_a_lateral_view() -> None:
    assert view_of(view_position="", row_direction="A") == "LATERAL"
    assert view_of(view_position="", row_direction="L") == ""
