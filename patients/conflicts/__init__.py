"""Files that contradict the record: duplicates, quarantine, resolution by a person."""
