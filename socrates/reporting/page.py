"""The report as a self-contained HTML page and as Markdown, from one template and the same content."""

from __future__ import annotations

import re
from typing import Any

from socrates.reporting.jinja import templates


def render_html(found: dict[str, Any]) -> str:
    """The page: no script, no request, every figure within. ``found``: of :func:`sections.content`."""
    return with_contents(templates(html=True).get_template("report.j2").render(found, markup="html.j2"))


def with_contents(page: str) -> str:
    """The page with a list of its sections below the title."""
    titles = re.findall("<h2>(.*?)</h2>", page)
    for number, title in enumerate(titles):
        page = page.replace(f"<h2>{title}</h2>", f'<h2 id="section-{number}">{title}</h2>', 1)
    links = (f'<li><a href="#section-{number}">{title}</a></li>' for number, title in enumerate(titles))
    return page.replace("</h1>", f'</h1>\n<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>', 1)


def render_markdown(found: dict[str, Any]) -> str:
    """The same in Markdown, without figures."""
    text = templates(html=False).get_template("report.j2").render(found, markup="markdown.j2")
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
