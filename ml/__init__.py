"""A pure library on Keras 3, without Django.

What inference needs is at the top, the rest in packages by life cycle.
"""
