"""Refused access in the audit trail; refusals of unknown callers are counted."""
