"""Network architectures: builders with a name for every layer."""
