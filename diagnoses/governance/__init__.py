"""Model versions.

Installation, states, acceptance on site, operating points, comparison.
"""
