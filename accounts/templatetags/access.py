"""`{% if user|may:"upload" %}`: show only what the user may do; views check again."""

from django import template

from accounts.access import Action
from accounts.access import may as is_allowed
from accounts.models import User

register = template.Library()


@register.filter
def may(user: User | str, action: str) -> bool:
    """Return whether the user's role allows the action."""
    return isinstance(user, User) and is_allowed(user, Action(action))
