"""Predictors that read the question without a language model."""
