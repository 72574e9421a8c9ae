"""The scale of every row of a responses table, and which answers lie outside it.

Texts are read once each, rows are joined to them: millions of rows share a few thousand texts.
"""

from __future__ import annotations

import polars as pl

from socrates.data.scales.grammar import ParsedScale
from socrates.data.scales.instructions import parse_instruction

QUESTION = ["study_id", "task_num"]


def resolve_scales(table: pl.DataFrame, visible: pl.DataFrame) -> pl.DataFrame:
    """``table`` with the columns ``scale`` (a notation) and ``scale_rule``.

    A stated scale has the rule of :class:`~socrates.data.scales.grammar.ParsedScale`. A text that states none
    gets every integer from the lowest to the highest answer to its question, over all conditions of the
    study: of ``visible`` (rule ``observed_visible``) or, where that has fewer than two different answers,
    of ``table`` (``observed_all``). An open end of a one-sided statement is found in the same way
    (``one_sided+observed_visible``, ``one_sided+observed_all``). Both are null where nothing helps. The
    scale may allow very many integers: :func:`socrates.survey.scales.grid` thins it.

    Args:
        table: the rows, with ``study_id``, ``task_num``, ``stimuli`` and ``response``.
        visible: what training may see, with the same columns; usually the training split.
    """
    sources = {"observed_visible": visible, "observed_all": table}
    joined = table.join(_stated(table["stimuli"]), on="stimuli", how="left", maintain_order="left")
    scale, rule = pl.col("scale"), pl.col("scale_rule")
    for source, rows in sources.items():
        ends = rows.group_by(QUESTION).agg(
            pl.col("response").min().alias(f"{source}_low"), pl.col("response").max().alias(f"{source}_high")
        )
        joined = joined.join(ends, on=QUESTION, how="left", maintain_order="left")
        low = pl.coalesce("stated_low", f"{source}_low")
        high = pl.coalesce("stated_high", f"{source}_high")
        usable = scale.is_null() & (low < high)
        found = pl.when(pl.col("scale_rule") == "one_sided").then(pl.lit(f"one_sided+{source}"))
        rule = pl.when(usable).then(found.otherwise(pl.lit(source))).otherwise(rule)
        scale = pl.when(usable).then(pl.format("{}..{}", low, high)).otherwise(scale)
    joined = joined.with_columns(scale=scale, scale_rule=rule)
    rule = pl.when(pl.col("scale").is_not_null()).then("scale_rule")
    return joined.with_columns(scale_rule=rule).select(*table.columns, "scale", "scale_rule")


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
