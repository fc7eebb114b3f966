"""Configuration of the app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """Users, roles, tokens and the audit log."""

    name = "accounts"
    verbose_name = _("Users and access")

    def ready(self) -> None:
        """Connect the receivers."""
        import accounts.receivers  # noqa: F401
