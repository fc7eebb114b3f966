"""Speed benchmarks, run on one machine by `make bench`.

Each module is a benchmark and returns figures by name. `benchmarks/results.json` has
the latest figures with their machine; docs/performance.md explains them.
"""
