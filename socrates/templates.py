"""How every page of the project is made from its template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str, html: bool, filters: dict[str, Callable[..., Any]]) -> Environment:
    """The templates in the folder ``templates`` of a package; a name that is not given is an error.

    Args:
        html: whether values are escaped.
    """
    made = Environment(
        loader=PackageLoader(package),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= filters
    return made
