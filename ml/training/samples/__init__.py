"""Training samples: batches, augmentation, lung masks."""
