"""What a network is shown while training: batches, augmentation, lung masks."""
