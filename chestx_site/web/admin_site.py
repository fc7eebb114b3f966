"""The admin under the product's name, behind the site's one sign-in page."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, reverse
from django.utils.http import urlencode

from accounts.access import may_open_admin


class ChestXAdminSite(admin.AdminSite):
    """Django's admin with the product's name and look (templates/admin/).

    It opens by role, and nobody signs in here: the site's own page counts failed
    tries and writes the trail.
    """

    site_header = "ChestX administration"
    site_title = "ChestX"
    index_title = "The record"
    site_url = "/"

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the user's role has anything to do here."""
        return may_open_admin(request.user)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send people to the one sign-in page; refuse who is signed in already."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        wanted = request.GET.get("next", reverse("admin:index"))
        return redirect(f"{reverse('sign-in')}?{urlencode({'next': wanted})}")

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Sign out by the one way out (a POST, which keeps its method)."""
        return redirect("sign-out", preserve_request=True)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send people to the site's own form."""
        return redirect("password-change")

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Leave two routes out: one shows names without an event, one tells keys.

        Forms use raw keys instead of the autocompletion.
        """
        closed = {"autocomplete", "view_on_site"}
        return [
            route
            for route in super().get_urls()
            if getattr(route, "name", None) not in closed
        ]
