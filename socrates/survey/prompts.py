"""How a respondent and a scenario become the text a model reads.

A prompt has three parts. ``scenario`` and ``persona`` are texts that many rows have in common, so
they are tokenised once each; ``answer`` is what is learned and scored::

    scenario_first   [head + scenario] [persona + response header] [answer]
    persona_first    [head + persona + scenario + response header] [answer]

With the scenario first, everything before the persona is the same for all respondents who read that
scenario, and a model need compute it only once. ``persona_first`` is the Alpaca order of the seed
project. Parts are tokenised apart, at boundaries where Qwen's pre-tokenizer splits anyway, so the
tokens of training and of scoring are the same by construction.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from socrates.survey.tables import DEMOGRAPHICS

Layout = Literal["scenario_first", "persona_first"]

HEAD = "### Instruction:\nPredict how this person answers the survey question.\n\n### Input:\n"
# The header ends with the space, so that the answer begins with its first digit or minus sign.
RESPONSE = "\n\n### Response:\nResponse: "


def scenario_part(stimuli: str, layout: Layout) -> str:
    """The scenario's piece of the prompt."""
    if layout == "scenario_first":
        return f"{HEAD}Scenario: {stimuli}\n\n"
    return f"Scenario: {stimuli}{RESPONSE}"


def persona_part(persona: str, layout: Layout) -> str:
    """The persona's piece of the prompt."""
    if layout == "scenario_first":
        return f"Demographics: {persona}{RESPONSE}"
    return f"{HEAD}Demographics: {persona}\n\n"


def answer_part(response: int) -> str:
    """The answer's piece; the end-of-answer token follows it."""
    return str(response)


def prompt(stimuli: str, persona: str, layout: Layout) -> str:
    """The whole prompt up to the answer, for a person to read."""
    pieces = [scenario_part(stimuli, layout), persona_part(persona, layout)]
    return "".join(pieces if layout == "scenario_first" else reversed(pieces))


def persona_expression() -> pl.Expr:
    """The persona's text from the ``demographic`` column: ``Age: 34; Gender: Female; ...``.

    Fields that were not asked are left out; a respondent of whom nothing is known is ``unknown``.
    """
    fields = [
        pl.format("{}: {}", pl.lit(label), pl.col("demographic").struct.field(name))
        for name, label in DEMOGRAPHICS.items()
    ]
    text = pl.concat_str(fields, separator="; ", ignore_nulls=True)
    return pl.when(text == "").then(pl.lit("unknown")).otherwise(text).alias("persona")
