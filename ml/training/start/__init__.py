"""Initial weights for training: random, published or from another model."""
