"""Users, roles, departments, tokens, access decisions and the audit log."""
