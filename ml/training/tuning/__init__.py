"""The search for hyperparameters of a recipe."""
