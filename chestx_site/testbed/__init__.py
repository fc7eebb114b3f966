"""Test bed of benchmarks and fault trials: a whole ChestX in an empty folder."""
