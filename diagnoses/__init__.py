"""Predictions: the queue, its workers, the pages and the REST API."""
