"""The admin pages of users, departments, tokens and the audit log."""

from accounts.admin import users

__all__ = ["users"]
