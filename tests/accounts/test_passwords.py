"""New passwords are hard to guess."""

from __future__ import annotations

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from accounts.models import User

USER = User(
    username="jmueller", first_name="Johanna", last_name="Müller", email="jm@kh.example"
)


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "Password123456!",
        "qwertyuiop[]asdf",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "123456789012345",
        "Winter2026Winter",
        "letmein-letmein",
        "iloveyouiloveyou",
        "P@ssw0rdP@ssw0rd",
        "chestxchestxchestx",
        "01.01.1980-0101",
        "short-Pass1",
    ],
)
def test_a_common_or_simple_password_is_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password, USER)


@pytest.mark.parametrize(
    "password",
    [
        "jmuellerjmueller",
        "JMUELLER-jmueller-1",
        "relleumjrelleumj",
        "johannajohanna12",
        "MüllerMüllerMüller",
        "johanna-müller-kh",
        "xjmuellerxjmuellerx",
    ],
)
def test_a_password_that_repeats_the_name_is_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password, USER)


@pytest.mark.parametrize(
    "password",
    [
        "correct-horse-battery-staple",
        "vivid anvil pours mustard",
        "k3Tz!9vQm#Lw2x",
        "jmueller-vivid-anvil-mustard",
        "ж" * 3 + "лодка-солнце-вагон-игла",
        "x7!" + "longer than zxcvbn weighs " * 8,
    ],
)
def test_a_strong_password_is_taken(password: str) -> None:
    validate_password(password, USER)
    validate_password(password)
