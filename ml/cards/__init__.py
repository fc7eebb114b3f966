"""Model cards: schema, reading, checks and fixed texts."""
