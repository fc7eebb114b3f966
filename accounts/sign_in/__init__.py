"""Limits on failed sign-ins, rules for passwords, and the forms of both."""
