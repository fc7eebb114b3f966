"""The users of the demo: one a role, named after it, with one password for all."""

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from accounts.access import STAFF_ROLES
from accounts.models import Department, Role, User

DEPARTMENTS = (("radiology", "Radiology"), ("emergency", "Emergency"))


def create_demo_users(password: str) -> list[User]:
    """Make the users that are missing, and give all of them this password.

    Users who are there keep everything but a password that differs, so that a second
    start finds the sessions and roles of the first.

    Args:
        password: Of every user of the demo.

    Returns:
        The users, in the order of the roles.
    """
    with transaction.atomic():
        departments = [
            Department.objects.get_or_create(code=code, defaults={"name": name})[0]
            for code, name in DEPARTMENTS
        ]
        users = {user.username: user for user in User.objects.filter(username__in=Role)}
        encoded = _encoded(password, [user.password for user in users.values()])
        for role in Role:
            user = users.get(role) or _create(role, departments)
            if user.password != encoded:
                user.password = encoded
                user.save(update_fields=["password"])
            users[role] = user
    return [users[role] for role in Role]


def _encoded(password: str, kept: list[str]) -> str:
    """Return the hash that all users share: slow to make, so made once, and kept."""
    if len(set(kept)) == 1 and check_password(password, kept[0]):
        return kept[0]
    return make_password(password)


def _create(role: Role, departments: list[Department]) -> User:
    user = User.objects.create(
        username=role.value,
        role=role,
        first_name="Demo",
        last_name=role.label,
        is_staff=role in STAFF_ROLES,
        primary_department=departments[0],
    )
    user.departments.set(departments)
    return user
