"""Users, departments, tokens and the audit log in the admin."""

from accounts.admin import users

__all__ = ["users"]
