"""App configuration of django-axes, which counts failed sign-ins."""

from axes.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class FailedSignInsConfig(AppConfig):
    """Give the app a name that the admin site can show."""

    verbose_name = _("Failed sign-ins")
