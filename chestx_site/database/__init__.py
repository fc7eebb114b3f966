"""The two roles of the database: one owns the tables, one serves."""
