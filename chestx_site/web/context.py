"""What every template may ask for."""

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, object]:
    """Return the facts of the site that its pages tell."""
    return {"development": not settings.PRODUCTION}
