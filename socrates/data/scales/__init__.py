"""Read the answer scale that an instruction states."""
