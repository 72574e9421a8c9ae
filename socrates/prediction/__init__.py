"""Answer distributions of respondents under a model."""
