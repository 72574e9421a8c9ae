"""Floor 4: the page that a person reads, its figures and its warnings."""
