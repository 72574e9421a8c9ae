"""Where responses come from: readers of raw tables, and the cleaning that makes the canonical table of them."""
