"""What keeps a run alive and never changes its result."""
