"""Who may do what at which route, and what is answered about the rest."""
