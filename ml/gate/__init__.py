"""The gate: which images a model may score, by header, pixels and features."""
