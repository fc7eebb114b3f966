"""What every template may ask for."""

from django.conf import settings
from django.http import HttpRequest

from accounts.access import Action, may


def site(request: HttpRequest) -> dict[str, object]:
    """Return the site's facts and what the user may do.

    In templates: `{% if may.upload %}`, `{% if site.development %}`; `user` and its
    `role` come from Django's own context processor.
    """
    return {
        "site": {
            "name": "ChestX",
            "development": not settings.PRODUCTION,
            "notice": "Decision support, not for diagnosis.",
        },
        "may": _Allowed(request),
    }


class _Allowed:
    """`may.<action>`, asked only where a template uses it."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __getitem__(self, action: str) -> bool:
        user = getattr(self._request, "user", None)
        return user is not None and may(user, Action(action))
