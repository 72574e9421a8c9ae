"""How every page of the project is made from its template, and how a value is written in it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from socrates.evaluation.intervals import Estimate
from socrates.reporting.markdown import markdown_quote, markdown_text


@dataclass(frozen=True)
class Table:
    """A table of texts, numbers and estimates, for a page in HTML and in Markdown alike."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


def templates(
    html: bool, package: str = "socrates.reporting", filters: Mapping[str, Callable[..., Any]] | None = None
) -> Environment:
    """The templates in the folder ``templates`` of a package, and of this one, with ``filters`` beside those below.

    Values are escaped in HTML; an undefined name is an error.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("socrates.reporting")]),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    cell = html_cell if html else markdown_cell
    made.filters |= {"number": number, "interval": interval_text, "cell": cell}
    made.filters |= {"md": markdown_text, "quote": markdown_quote, **(filters or {})}
    return made


def number(value: Any) -> str:
    """A figure with a true minus sign; an en dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, str | bool):
        return str(value)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) >= 10)
    return (f"{value:,.0f}" if whole else f"{value:.3f}").replace("-", "−")


def interval_text(estimate: Estimate) -> str:
    """The ends of an interval; empty where there is none."""
    return f"{number(estimate.low)} to {number(estimate.high)}" if estimate.bounded else ""


def html_cell(value: Any) -> str | Markup:
    """A value in a cell of a table, the interval of an estimate below it."""
    if isinstance(value, Estimate) and value.bounded:
        return Markup("{}<small>{}</small>").format(number(value.value), interval_text(value))
    return number(value.value if isinstance(value, Estimate) else value)


def markdown_cell(value: Any) -> str:
    """A value in a cell of a table, the interval of an estimate in brackets."""
    if isinstance(value, Estimate):
        return number(value.value) + (f" ({interval_text(value)})" if value.bounded else "")
    return markdown_text(number(value))


def render_html(found: dict[str, Any]) -> str:
    """The report, of :func:`sections.content`, as a page without script or request, a list of its sections on top."""
    page = templates(html=True).get_template("report.j2").render(found, markup="html.j2")
    links = ""
    for place, title in enumerate(re.findall("<h2>(.*?)</h2>", page)):
        page = page.replace(f"<h2>{title}</h2>", f'<h2 id="section-{place}">{title}</h2>', 1)
        links += f'<li><a href="#section-{place}">{title}</a></li>'
    return page.replace("</h1>", f'</h1>\n<nav aria-label="Contents"><ul>{links}</ul></nav>', 1)


def render_markdown(found: dict[str, Any]) -> str:
    """The same in Markdown, without figures."""
    text = templates(html=False).get_template("report.j2").render(found, markup="markdown.j2")
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
