"""Permissions of REST views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission

from accounts.access import Action, may

if TYPE_CHECKING:
    # The views' own module reads this class from the settings while it is imported.
    from rest_framework.request import Request
    from rest_framework.views import APIView


class ActionPermission(BasePermission):
    """Allow a request if both the role and the token allow the view's action.

    A view names its action in `required_action`. Viewsets whose methods differ name
    them in `required_actions` by method (`{"retry": …}`). A view without an action is
    closed to everyone.
    """

    message = _("Your role or token does not have permission for this.")

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the user may do the action of this view."""
        if not request.user.is_authenticated:
            return False
        action = required_action(view)
        return action is not None and may(request.user, action)


def required_action(view: APIView) -> Action | None:
    """Return the action that the current method of the view needs."""
    by_method: Mapping[str, Action] = getattr(view, "required_actions", {})
    # The schema generator and OPTIONS have no method of the viewset.
    name = getattr(view, "action", None) or ""
    return by_method.get(name, getattr(view, "required_action", None))
