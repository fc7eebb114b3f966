"""The admin site, with ChestX's name and sign-in page."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from accounts.access import may_open_admin

_View = TypeVar("_View", bound=Callable[..., Any])


class ChestXAdminSite(admin.AdminSite):
    """Django's admin site with ChestX's name and look (templates/admin/).

    Access depends on the role. Users sign in on the site's own page, which counts
    failed attempts and writes audit events.
    """

    site_header = _("ChestX administration")
    site_title = "ChestX"
    index_title = _("Records")
    site_url = "/"
    # Lists have many columns: the width is theirs. The first page lists all models.
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user's role may open the admin site."""
        return may_open_admin(request.user)

    def admin_view(self, view: _View, cacheable: bool = False) -> _View:
        """Refuse users whose role has no access, on every page alike."""
        page = super().admin_view(view, cacheable)

        def refusing(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not self.has_permission(request):
                raise PermissionDenied
            return page(request, *args, **kwargs)

        return cast("_View", update_wrapper(refusing, page))

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the sign-in page; refuse users whose role has no access."""
        if not self.has_permission(request):
            raise PermissionDenied
        next_url = request.GET.get("next", reverse("admin:index"))
        return redirect(f"{reverse('sign-in')}?{urlencode({'next': next_url})}")

    # Django's stubs declare a TemplateResponse, but Django too returns redirects here.
    def logout(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the site's sign-out and keep the method POST."""
        return redirect("sign-out", preserve_request=True)

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the site's own password form."""
        return redirect("password-change")

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Return Django's routes without two that would show data without an event.

        Autocompletion shows names, `view_on_site` reveals keys. Forms use raw keys.
        """
        closed = {"autocomplete", "view_on_site"}
        return [
            route
            for route in super().get_urls()
            if getattr(route, "name", None) not in closed
        ]
