"""The command ``socrates``, a module for each panel of ``--help``; what computes is in ``app`` and ``tools``.

Only typer and the standard library are imported at a module's top, so that ``--help`` stays instant.
"""
