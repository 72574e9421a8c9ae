"""The report as a self-contained HTML page and as Markdown, from one template and the same content."""

from __future__ import annotations

import re
from typing import Any

from socrates.reporting.jinja import templates


def render_html(found: dict[str, Any]) -> str:
    """The page: no script, no request, every figure within. ``found``: of :func:`sections.content`."""
    return templates(html=True).get_template("report.j2").render(found, markup="html.j2")


def render_markdown(found: dict[str, Any]) -> str:
    """The same in Markdown, without figures."""
    text = templates(html=False).get_template("report.j2").render(found, markup="markdown.j2")
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
