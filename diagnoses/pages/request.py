"""The type of the request that the pages receive."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class PageRequest(HttpRequest):
    """A request of a signed-in user: SignInRequiredMiddleware lets no other through."""

    user: User
    htmx: HtmxDetails
