"""Context processor: values for every template."""

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, object]:
    """Return whether this is a development server."""
    return {"development": not settings.PRODUCTION}
