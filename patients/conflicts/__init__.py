"""Files that contradict the record: detection and quarantine."""
