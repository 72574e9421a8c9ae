"""A table in Markdown, which is how the commands write one; a terminal shows it drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The lines of a table, escaped; the last one ends without a line break."""
    from socrates.reporting.jinja import markdown_text  # late: with scipy, which the GPU kit has not

    lines = [f"| {' | '.join(map(markdown_text, line))} |" for line in [head, *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
