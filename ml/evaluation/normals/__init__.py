"""Measuring how often models flag images of adults that readers called normal."""
