"""chat: not offered, and said so where a user of other tools looks for it."""

from __future__ import annotations

from socrates.core.errors import SocratesError

ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def chat() -> None:
    """Not offered: the adapter answers surveys."""
    raise SocratesError(
        "chat: not offered, the adapter answers surveys and nothing else; ask it with python -m socrates predict"
    )
