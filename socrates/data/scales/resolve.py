"""The scale of every row of a responses table, and which answers lie outside it.

Texts are read once each, rows are joined to them: millions of rows share a few thousand texts.
"""

import polars as pl

from socrates.core.files import Schema
from socrates.data.scales.grammar import ParsedScale
from socrates.data.scales.instructions import parse_instruction

STATED: Schema = {  # what a text states; low and high are of one-sided statements
    **dict.fromkeys(("stimuli", "scale", "scale_rule"), pl.String),
    **dict.fromkeys(("stated_low", "stated_high"), pl.Int64),
}


def resolve_scales(table: pl.DataFrame) -> pl.DataFrame:
    """``table`` with the columns ``scale`` (a notation) and ``scale_rule``.

    A stated scale has the rule of :class:`~socrates.data.scales.grammar.ParsedScale`. A question that states none gets
    every integer from its lowest to its highest answer, over all conditions of the study (rule ``observed``); an open
    end of a one-sided statement is found in the same way (``one_sided+observed``). Both columns are null where that
    leaves fewer than two integers. The scale may allow very many: :func:`socrates.survey.scales.thin_scale` thins it.
    ``table`` holds whole studies.
    """
    stated = [
        (text, found.scale and found.scale.notation, found.rule, found.low, found.high)
        for text, found in _parsed(table["stimuli"]).items()
        if found
    ]
    answers = pl.col("response")
    low = pl.coalesce("stated_low", answers.min().over("study_id", "task_num"))
    high = pl.coalesce("stated_high", answers.max().over("study_id", "task_num"))
    observed = pl.when(low < high)
    rule = pl.concat_str("scale_rule", pl.lit("observed"), separator="+", ignore_nulls=True)
    return (
        table.join(
            pl.DataFrame(stated, STATED, orient="row"), on="stimuli", how="left", maintain_order="left"
        )
        .with_columns(
            pl.col("scale").fill_null(observed.then(pl.format("{}..{}", low, high))),
            scale_rule=pl.when(pl.col("scale").is_null()).then(observed.then(rule)).otherwise("scale_rule"),
        )
        .select(*table.columns, "scale", "scale_rule")
    )


def conforms(table: pl.DataFrame) -> pl.Series:
    """Whether each row's answer is one that its own text allows: booleans, one per row.

    Only what a text states counts; an answer to a text that states nothing conforms.
    """
    stated = _parsed(table["stimuli"])
    # joined by number: text would take gigabytes
    text = table["stimuli"].cast(pl.Enum(list(stated))).to_physical()
    rows, parsed = table.select("response", text=text), list(stated.values())
    pairs = rows.unique().drop_nulls()
    allowed = [(found := parsed[text]) is None or found.allows(answer) for answer, text in pairs.iter_rows()]
    pairs = pairs.with_columns(conforms=pl.Series(allowed, dtype=pl.Boolean))
    return rows.join(pairs, on=rows.columns, how="left", maintain_order="left")["conforms"].fill_null(True)


def _parsed(stimuli: pl.Series) -> dict[str, ParsedScale | None]:
    """What each distinct text states."""
    return {text: parse_instruction(text) for text in stimuli.unique().drop_nulls()}
