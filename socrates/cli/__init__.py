"""The command ``socrates``, whose ``--help`` has a panel for each purpose; what computes is in ``app`` and ``tools``.

Only typer and the standard library are imported at a module's top, so that ``--help`` stays instant.
"""
