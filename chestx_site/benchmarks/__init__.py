"""How fast it is, measured in one run on one machine: `make bench`.

A module a benchmark; each returns figures by name. `benchmarks/results.json` keeps the
last ones with the machine that gave them, docs/performance.md says what they mean.
"""
