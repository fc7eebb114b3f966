"""Demo users: one for each role, named after the role, with one shared password."""

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from accounts.access import is_staff_role
from accounts.models import Department, Role, User

# Names of rows in the database: not translated.
DEPARTMENTS = (("radiology", "Radiology"), ("emergency", "Emergency"))


def create_demo_users(password: str) -> list[User]:
    """Create missing demo users and set the password of all demo users.

    Existing users keep everything else, and the stored hash if the password is the
    same, so that sessions and roles survive a second start.

    Args:
        password: The password of all demo users.

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
    """Return the shared password hash; a new one only if the password changed."""
    if len(set(kept)) == 1 and check_password(password, kept[0]):
        return kept[0]
    return make_password(password)


def _create(role: Role, departments: list[Department]) -> User:
    user = User.objects.create(
        username=role.value,
        role=role,
        first_name="Demo",
        last_name=str(role.label),
        is_staff=is_staff_role(role),
        primary_department=departments[0],
    )
    user.departments.set(departments)
    return user
