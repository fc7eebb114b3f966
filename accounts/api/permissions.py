"""What a REST view asks of its caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission

from accounts.access import Action, may, scopes_of

if TYPE_CHECKING:
    # The views' own module reads this class from the settings while it is imported.
    from rest_framework.request import Request
    from rest_framework.views import APIView


class ActionPermission(BasePermission):
    """Let a request pass whose role and token both have the view's action.

    A view names its action as `required_action`, and where its methods differ, as
    `required_actions` by the name of the method of the viewset (`{"retry": …}`).
    A view that names none is closed to everybody.
    """

    message = "Your role, or the scopes of your token, may not do this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the caller has the action that this view asks for."""
        if not request.user.is_authenticated:
            return False
        action = required_action(view)
        return action is not None and may(
            request.user, action, scopes=scopes_of(request)
        )


def required_action(view: APIView) -> Action | None:
    """Return the action that the view's present method asks for."""
    by_method: Mapping[str, Action] = getattr(view, "required_actions", {})
    # The schema generator and OPTIONS have no method of the viewset.
    name = getattr(view, "action", None) or ""
    return by_method.get(name, getattr(view, "required_action", None))
