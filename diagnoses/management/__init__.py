"""Options and output that the commands of this app share."""
