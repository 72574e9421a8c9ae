"""The command ``socrates``, a panel of ``--help`` for each purpose; what computes is in ``app`` and ``tools``.

Only typer, the standard library and ``core.errors`` are imported at a module's top, so that ``--help`` stays instant.
"""
