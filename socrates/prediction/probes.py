"""What does the model read? The test set asked again with a part of the prompt taken away or turned round."""

import re

import polars as pl

from socrates.data.near_duplicates import text_parts
from socrates.survey.scales import Scale, scale
from socrates.survey.tables import CELL, DEMOGRAPHICS

REVERSED = "reversed_options"
EVERY = 4  # one respondent of so many is asked, of each test cell
_LABEL = re.compile(
    r"(?<![\d.,-])(-?\d+)\s*(?:=|means|for|being|\()\s*"
    r"('[^']+'|\"[^\"]+\"|“[^”]+”|[^\d\s'\"“(),;.][^\d'\"“(),;.]*?)(?=\)|[,;.]|\s+(?:and|or)\s+-?\d|\s*$)"
)
_RANKED = re.compile(r"\b(?:high|low|larg|small|great)er\s+(?:number|score|value|rating)", re.IGNORECASE)


def probe_rows(table: pl.DataFrame, probe: str, max_options: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows that a probe asks about, with its text or persona, and the rows that it cannot ask, by reason.

    ``no_persona``, ``no_scenario`` (question and instruction alone) or ``reversed_options`` (the labels of the options
    exchanged, low for high; :func:`restored` maps the answers back). A scale of more than ``max_options`` is thinned
    for prediction, unevenly, so that its options are not reversed.
    """
    rows = table.filter((pl.int_range(pl.len()) % EVERY == 0).over(CELL))
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
    missing = "options cannot be reversed safely", "no scenario apart from the question"
    return kept, {missing[probe != REVERSED]: asked.height - kept.height}


def restored(predictions: pl.DataFrame, probe: str) -> pl.DataFrame:
    """``predictions`` (``PREDICTIONS``) of a probe as predictions of the options as they were asked of people."""
    mirrored = pl.col("probabilities").list.reverse()
    return predictions.with_columns(mirrored) if probe == REVERSED else predictions


def without_scenario(text: str) -> str | None:
    """Question and instruction of a text; None where there is no scenario or no question of its own."""
    scenario, question, instruction = text_parts(text)
    return f"{question} {instruction}".strip() if scenario and question else None


def reverse_labels(text: str, options: Scale) -> str | None:
    """``text`` with the labels of its options exchanged: what low stood for stands for high.

    None where that is not safe: the labelled options are no mirror of each other, one has two labels, the options are
    not evenly spaced, or the text refers to the order in other words.
    """
    found = ((match, int(match[1])) for match in _LABEL.finditer(text))
    labels = [(match, number) for match, number in found if number in options.options]
    of = {number: match[2] for match, number in labels}
    mirror = {number: options.low + options.high - number for number in of}
    if (
        len(of) < 2
        or len(of) < len(labels)
        or set(mirror.values()) != set(of)
        or not isinstance(options.options, range)
        or _RANKED.search(text)
        or re.search(rf"\(\s*(?:{'|'.join(map(str, of))})\s*\)", text)
    ):
        return None
    for match, number in reversed(labels):
        text = text[: match.start(2)] + of[mirror[number]] + text[match.end(2) :]
    return text
