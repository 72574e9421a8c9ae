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
    stated = _parsed(table["stimuli"])
    text = (
        table["stimuli"].cast(pl.Enum(list(stated))).to_physical()
    )  # rows are joined by number, not by text
    rows = table.select("response", text=text)
    pairs, parsed = rows.unique().drop_nulls(), list(stated.values())
    allowed = [
        (scale := parsed[text]) is None or scale.allows(response) for response, text in pairs.iter_rows()
    ]
    pairs = pairs.with_columns(conforms=pl.Series(allowed, dtype=pl.Boolean))
    rows = rows.join(pairs, on=["text", "response"], how="left", maintain_order="left")
    return rows["conforms"].fill_null(True)


def _parsed(stimuli: pl.Series) -> dict[str, ParsedScale | None]:
    """What each distinct text states."""
    return {text: parse_instruction(text) for text in stimuli.unique().drop_nulls()}


def _stated(stimuli: pl.Series) -> pl.DataFrame:
    """The same as a table; ``stated_low`` and ``stated_high`` are of one-sided statements."""
    return pl.DataFrame(
        [
            (text, stated.scale and stated.scale.notation, stated.rule, stated.low, stated.high)
            for text, stated in _parsed(stimuli).items()
            if stated
        ],
        schema={
            "stimuli": pl.String,
            "scale": pl.String,
            "scale_rule": pl.String,
            "stated_low": pl.Int64,
            "stated_high": pl.Int64,
        },
        orient="row",
    )
