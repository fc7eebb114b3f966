"""Filters of REST lists that never tell whether a key exists."""

from typing import Any, ClassVar

from django.db import models
from django_filters import rest_framework as filters


class KeyFilterSet(filters.FilterSet):
    """A FilterSet whose foreign keys are filtered by the key alone.

    django-filter looks the key up and refuses one that does not exist. Here a key that
    does not exist, and one of a row that the caller may not see, both leave no rows.
    """

    FILTER_DEFAULTS: ClassVar[dict[Any, dict[str, Any]]] = {
        **filters.FilterSet.FILTER_DEFAULTS,
        models.ForeignKey: {"filter_class": filters.UUIDFilter},
        models.OneToOneField: {"filter_class": filters.UUIDFilter},
    }
