"""Users, departments, tokens and the audit trail in the admin."""

from accounts.admin import users

__all__ = ["users"]
