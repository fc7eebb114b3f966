"""Files that contradict the record: duplicates, quarantine, resolution."""
