"""Training: recipes, runs, fits on held-out patients, packaging."""
