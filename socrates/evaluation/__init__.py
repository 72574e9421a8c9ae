"""How close predicted answer distributions are to people's. NumPy and SciPy only, no torch."""
