"""What inference workers and the sweeper do with queued predictions."""
