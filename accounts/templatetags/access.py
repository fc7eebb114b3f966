"""`{% if user|may:"upload" %}`: what to offer somebody; the views decide themselves."""

from django import template

from accounts.access import Action
from accounts.access import may as is_allowed
from accounts.models import User

register = template.Library()


@register.filter
def may(user: User | str, action: str) -> bool:
    """Whether the user's role has the action; nobody has any."""
    return isinstance(user, User) and is_allowed(user, Action(action))
