"""The users of the demo."""

import pytest

from accounts.demo import create_demo_users
from accounts.models import Department, Role, User

pytestmark = pytest.mark.django_db


def test_each_role_has_one_demo_user_in_the_departments() -> None:
    users = create_demo_users("first-Password-4711")
    assert [user.username for user in users] == list(Role.values)
    for user in User.objects.all():
        assert user.role == user.username
        assert user.check_password("first-Password-4711")
        assert user.is_staff == (user.role in ("admin", "auditor"))
        assert user.departments.count() == 2
        assert user.primary_department.code == "radiology"


def test_a_second_start_keeps_changed_users_and_the_password() -> None:
    create_demo_users("first-Password-4711")
    User.objects.filter(username="clinician").update(role=Role.RADIOLOGIST)
    before = list(User.objects.order_by("pk").values())
    create_demo_users("first-Password-4711")
    assert list(User.objects.order_by("pk").values()) == before
    assert Department.objects.count() == 2


def test_a_new_demo_password_is_set_for_every_user() -> None:
    create_demo_users("first-Password-4711")
    User.objects.get(username="admin").delete()
    create_demo_users("other-Password-0815")
    assert all(u.check_password("other-Password-0815") for u in User.objects.all())
    assert User.objects.count() == len(Role)
