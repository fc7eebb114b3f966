"""The gate: which images a model may score, by header, picture and features."""
