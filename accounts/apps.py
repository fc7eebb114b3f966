"""Configuration of the app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users, roles, tokens, and the trail."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the receivers."""
        import accounts.receivers  # noqa: F401
