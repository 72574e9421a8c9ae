"""Where responses come from: sources, the synthetic world, reading scales, sampling, splits."""
