"""The command ``socrates``: what it offers, option by option. What computes is in ``app`` and ``tools``.

A module here imports only typer and the standard library at its top, so that ``--help`` stays instant;
the rest is imported inside the command. Every command takes ``--json``.
"""
