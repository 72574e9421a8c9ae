"""The commands of ``python -m socrates``: one thin module each, named like its command, and their ``options``.

A module imports only typer and the standard library at its top, so that ``--help`` stays instant;
what computes is imported inside the command. Every command takes ``--json``.
"""
