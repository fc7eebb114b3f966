"""Context processor: values for every template."""

from django.conf import settings
from django.http import HttpRequest

from patients.search import LONGEST_QUERY


def site(request: HttpRequest) -> dict[str, object]:
    """Return whether this is a development server, and the limit of a search."""
    return {"development": not settings.PRODUCTION, "longest_query": LONGEST_QUERY}
