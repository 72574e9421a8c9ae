"""The report as a self-contained HTML page and as Markdown, from the same content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment

from socrates.evaluation.intervals import Estimate
from socrates.reporting.jinja import environment
from socrates.reporting.read import Report
from socrates.reporting.sections import content, number


def render_html(report: Report) -> str:
    """The page: no script, no request, every figure within."""
    return templates(html=True).get_template("report.html.j2").render(content(report))


def render_markdown(report: Report) -> str:
    """The same in Markdown, without figures."""
    return templates(html=False).get_template("report.md.j2").render(content(report))


def templates(html: bool, package: str = "socrates.reporting") -> Environment:
    """The templates of a package and of this one, with the filters that they use."""
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "interval": interval_text,
        "md": markdown_cell,
        "quote": markdown_quote,
    }
    return environment(package, html, filters)


def interval_text(estimate: Estimate) -> str:
    """The ends of an interval; empty where there is none."""
    return f"{number(estimate.low)} to {number(estimate.high)}" if estimate.bounded else ""


def markdown_cell(value: Any) -> str:
    """Text that cannot break out of a Markdown table."""
    return " ".join(str(value).split()).replace("<", "&lt;").replace("|", "\\|")


def markdown_quote(text: str) -> str:
    """Text as a Markdown quotation."""
    return "\n".join(f"> {markdown_cell(line)}".rstrip() for line in text.splitlines())
