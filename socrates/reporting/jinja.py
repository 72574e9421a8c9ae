"""How every page of the project is made from its template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def environment(package: str, html: bool, filters: dict[str, Callable[..., Any]]) -> Environment:
    """The templates in the folder ``templates`` of a package, and of this one; an undefined name is an error.

    Args:
        html: whether values are escaped.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("socrates.reporting")]),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= filters
    return made
