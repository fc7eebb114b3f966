"""Template filters for access decisions."""
