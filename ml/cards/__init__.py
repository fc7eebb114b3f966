"""The card of a model.

Its schema, how it is read, and the texts that no computation can give.
"""
