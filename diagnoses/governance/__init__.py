"""Model versions: install, accept, activate, compare, set operating points."""
