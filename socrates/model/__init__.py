"""Tokenizer, base model, quantised loading, adapters, the shared-scenario forward pass."""
