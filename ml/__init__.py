"""Model library on Keras 3, without Django.

The modules for inference are at the top; the packages follow the life cycle of a model.
"""
