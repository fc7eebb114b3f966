"""Test bed of benchmarks and fault trials: a whole ChestX in an empty folder.

Its processes and databases are real; the clients use only pages and REST.
"""
