"""Where responses come from: a reader yields raw tables (:mod:`.hub`, :mod:`.local`), :mod:`.clean` makes the canonical
table of :mod:`socrates.survey.tables` of them, with each unusable row counted and its reason kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Source:
    """Something responses can be read from.

    Attributes:
        tables: (name of the file, its raw table) in the order of the names. A raw table has the columns of
            ``RESPONSES``; identifiers and answers may be integers, floats or text. Two more are optional: ``line``, the
            row's number in the file, and ``unknown_labels``, the demographic labels that were not understood.
        about: what the manifest says of the source (revision, file hashes ...).
        mappings: the dataset's own split files, by name.
    """

    tables: Iterator[tuple[str, pl.DataFrame]]
    about: dict[str, Any]
    mappings: dict[str, Path] = field(default_factory=dict)
