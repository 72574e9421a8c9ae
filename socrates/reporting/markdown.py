"""How text is written in Markdown: by commands, reports and cards."""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_text(value: Any) -> str:
    """Text that cannot break out of a Markdown table."""
    return " ".join(str(value).split()).replace("<", "&lt;").replace("|", "\\|")


def markdown_quote(text: str) -> str:
    """Text as a Markdown quotation."""
    return "\n".join(f"> {markdown_text(line)}".rstrip() for line in text.splitlines())


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The lines of a table, escaped; the last one ends without a line break."""
    lines = [f"| {' | '.join(map(markdown_text, line))} |" for line in [head, *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
