"""Many scans in one go: which cases there are, where their results go, what became of each, and resuming."""
