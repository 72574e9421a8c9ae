"""Responses study by study: one order for their rows, batches of whole studies, and what a table holds."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from socrates.core.files import read_table
from socrates.survey.tables import CELL, RESPONSES


def iter_study_batches(
    path: Path, keep: pl.DataFrame | None = None, rows_per_batch: int = 250_000
) -> Iterator[pl.DataFrame]:
    """The responses in ``path`` as tables of whole studies, sorted as by :func:`sort_rows` throughout.

    Memory is that of ``rows_per_batch`` rows or the largest study; a file that lies sorted by study is decoded once.
    ``keep`` has the (study_id, sample_id) to keep; None keeps all.
    """
    column = read_table(path, {"study_id": pl.String})
    lies_sorted = column["study_id"].is_sorted()
    sizes = column.group_by("study_id").len().sort("study_id").with_columns(end=pl.col("len").cum_sum())
    for _, studies in sizes.group_by(sizes["end"] // rows_per_batch, maintain_order=True):
        here = pl.col("study_id").is_in(studies["study_id"].implode())
        run = slice(studies["end"][0] - studies["len"][0], studies["end"][-1])
        table = read_table(path, RESPONSES, run if lies_sorted else here)
        if keep is not None:
            table = table.join(keep.filter(here), on=["study_id", "sample_id"], how="semi")
        if table.height:
            yield sort_rows(table)


def sort_rows(table: pl.DataFrame) -> pl.DataFrame:
    """``table`` by study, condition, task, scenario text and sample_id: who read the same lie together.

    Texts are compared as ranks, since a few distinct long texts stand behind millions of rows.
    """
    text = table["stimuli"].cast(pl.Enum(table["stimuli"].unique().sort())).to_physical()
    keys = table.select(*CELL, text, "sample_id")
    return table[keys.select(pl.arg_sort_by(*keys.columns)).to_series()]


def counts(table: pl.DataFrame) -> dict[str, int]:
    """What a table holds; the counts of tables that share no study add up."""
    units = {"studies": ["study_id"], "cells": CELL, "participants": ["study_id", "participant"]}
    units["scenarios"] = ["study_id", "stimuli"]
    return {"rows": table.height} | {name: table.select(key).n_unique() for name, key in units.items()}
