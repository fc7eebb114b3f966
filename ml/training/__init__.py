"""From a data set to a model folder.

Recipes, runs, fits on held-out patients, packaging.
"""
