"""The scale of every row of a responses table, and which answers lie outside it.

Texts are read once each, rows are joined to them: millions of rows share a few thousand texts.
"""

from __future__ import annotations

import polars as pl

from socrates.data.scales.grammar import ParsedScale
from socrates.data.scales.instructions import parse_instruction

QUESTION = ["study_id", "task_num"]


def resolve_scales(table: pl.DataFrame) -> pl.DataFrame:
    """``table`` with the columns ``scale`` (a notation) and ``scale_rule``.

    A stated scale has the rule of :class:`~socrates.data.scales.grammar.ParsedScale`. A question that
    states none gets every integer from its lowest to its highest answer, over all conditions of the study
    (rule ``observed``); an open end of a one-sided statement is found in the same way
    (``one_sided+observed``). Both columns are null where that leaves fewer than two integers. The scale may
    allow very many integers: :func:`socrates.survey.scales.thin_scale` thins it.

    Args:
        table: whole studies, with ``study_id``, ``task_num``, ``stimuli`` and ``response``.
    """
    ends = table.group_by(QUESTION).agg(lowest=pl.col("response").min(), highest=pl.col("response").max())
    low, high = pl.coalesce("stated_low", "lowest"), pl.coalesce("stated_high", "highest")
    observed = pl.when(low < high)
    rule = pl.concat_str("scale_rule", pl.lit("observed"), separator="+", ignore_nulls=True)
    return (
        table.join(_stated(table["stimuli"]), on="stimuli", how="left", maintain_order="left")
        .join(ends, on=QUESTION, how="left", maintain_order="left")
        .with_columns(
            pl.col("scale").fill_null(observed.then(pl.format("{}..{}", low, high))),
            pl.when(pl.col("scale").is_null())
            .then(observed.then(rule))
            .otherwise("scale_rule")
            .alias("scale_rule"),
        )
        .select(*table.columns, "scale", "scale_rule")
    )


def conforms(table: pl.DataFrame) -> pl.Series:
    """Whether each row's answer is one that its own text allows: booleans, one per row.

    Only what a text states counts; an answer to a text that states nothing conforms.
    """
    texts = table["stimuli"].unique().drop_nulls()
    parsed = [parse_instruction(text) for text in texts]
    rows = table.select("stimuli", "response").join(
        pl.DataFrame({"stimuli": texts}).with_row_index("text"),
        on="stimuli",
        how="left",
        maintain_order="left",
    )
    pairs = rows.select("text", "response").unique().drop_nulls()
    allowed = [_allows(parsed[text], response) for text, response in pairs.iter_rows()]
    pairs = pairs.with_columns(pl.Series("conforms", allowed, dtype=pl.Boolean))
    rows = rows.join(pairs, on=["text", "response"], how="left", maintain_order="left")
    return rows["conforms"].fill_null(True)


def _allows(parsed: ParsedScale | None, response: int) -> bool:
    return parsed is None or parsed.allows(response)


def _stated(stimuli: pl.Series) -> pl.DataFrame:
    """What each distinct text states; ``stated_low`` and ``stated_high`` are of one-sided statements."""
    texts = stimuli.unique().drop_nulls()
    parsed = [parse_instruction(text) for text in texts]
    return pl.DataFrame(
        {
            "stimuli": texts,
            "scale": [found.scale.notation if found and found.scale else None for found in parsed],
            "scale_rule": [found.rule if found else None for found in parsed],
            "stated_low": [found.low if found else None for found in parsed],
            "stated_high": [found.high if found else None for found in parsed],
        },
        schema_overrides={
            "scale": pl.String,
            "scale_rule": pl.String,
            "stated_low": pl.Int64,
            "stated_high": pl.Int64,
        },
    )
