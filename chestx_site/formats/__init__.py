"""How dates and times are written, by language; Django's own formats for all others."""
