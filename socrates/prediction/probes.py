"""What does the model read? The test set asked again with a part of the prompt taken away or turned round."""

from __future__ import annotations

import re

import polars as pl

from socrates.data.near_duplicates import text_parts
from socrates.survey.scales import Scale, scale
from socrates.survey.tables import CELL, DEMOGRAPHICS

REVERSED = "reversed_options"
SHARE = 0.25  # of each test cell's respondents
_LABEL = re.compile(
    r"(?<![\d.,-])(-?\d+)\s*(?:=|means|for|being|\()\s*"
    r"('[^']+'|\"[^\"]+\"|“[^”]+”|[^\d\s'\"“(),;.][^\d'\"“(),;.]*?)(?=\)|[,;.]|\s+(?:and|or)\s+-?\d|\s*$)"
)
_RANKED = re.compile(r"\b(?:high|low|larg|small|great)er\s+(?:number|score|value|rating)", re.IGNORECASE)


def probe_rows(
    table: pl.DataFrame, probe: str, share: float, max_options: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows that a probe asks about, with its text or persona, and the rows that it cannot ask, by reason.

    Args:
        table: ``SCALED_RESPONSES``.
        probe: ``no_persona``, ``no_scenario`` (question and instruction alone) or ``reversed_options`` (the labels
            of the options exchanged, low for high; :func:`restored` maps the answers back).
        share: of each cell's respondents, evenly spread over them; at least one is asked.
        max_options: a longer scale is thinned for prediction, unevenly, so that its options are not reversed.
    """
    every = max(1, round(1 / share))
    rows = table.filter((pl.int_range(pl.len()) % every == 0).over(CELL))
    if probe == "no_persona":
        nobody = pl.struct(pl.lit(None, pl.String).alias(name) for name in DEMOGRAPHICS)
        return rows.with_columns(demographic=nobody), {}
    rows = rows.drop_nulls("scale")
    keys = rows.select("stimuli", "scale").unique()

    def changed(text: str, options: Scale) -> str | None:
        if probe != REVERSED:
            return without_scenario(text)
        return reverse_labels(text, options) if len(options.options) <= max_options else None

    texts = [changed(text, scale(notation)) for text, notation in keys.iter_rows()]
    found = keys.with_columns(pl.Series("changed", texts, pl.String))
    asked = rows.join(found, on=["stimuli", "scale"], how="left", maintain_order="left")
    kept = asked.drop_nulls("changed").with_columns(stimuli="changed").drop("changed")
    reason = (
        "options cannot be reversed safely" if probe == REVERSED else "no scenario apart from the question"
    )
    return kept, {reason: asked.height - kept.height}


def restored(predictions: pl.DataFrame, probe: str) -> pl.DataFrame:
    """``predictions`` (``PREDICTIONS``) of a probe as predictions of the options as they were asked of people."""
    if probe != REVERSED:
        return predictions
    return predictions.with_columns(pl.col("probabilities").list.reverse())


def without_scenario(text: str) -> str | None:
    """Question and instruction of a text; None where there is no scenario or no question of its own."""
    scenario, question, instruction = text_parts(text)
    return f"{question} {instruction}".strip() if scenario and question else None


def reverse_labels(text: str, options: Scale) -> str | None:
    """``text`` with the labels of its options exchanged: what low stood for stands for high.

    None where that is not safe: the labelled options are no mirror of each other, one has two labels, the
    options are not evenly spaced, or the text refers to the order in other words.
    """
    labels = [(match, int(match[1])) for match in _LABEL.finditer(text)]
    labels = [(match, number) for match, number in labels if number in options.options]
    of = {number: match[2] for match, number in labels}
    mirror = {number: options.low + options.high - number for number in of}
    numbers = "|".join(map(str, of))
    if (
        len(of) < 2
        or len(of) < len(labels)
        or set(mirror.values()) != set(of)
        or not isinstance(options.options, range)
        or _RANKED.search(text)
        or re.search(rf"\(\s*(?:{numbers})\s*\)", text)
    ):
        return None
    pieces, end = [], 0
    for match, number in labels:
        pieces += [text[end : match.start(2)], of[mirror[number]]]
        end = match.end(2)
    return "".join([*pieces, text[end:]])
