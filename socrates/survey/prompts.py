"""How a respondent and a scenario become the text a model reads.

A prompt has three parts. ``scenario`` and ``persona`` are texts that many rows have in common, so
they are tokenised once each; ``answer`` is what is learned and scored::

    scenario_first   [head + scenario] [persona + tail] [answer]
    persona_first    [head + persona] [scenario + tail] [answer]

With the scenario first, everything before the persona is the same for all respondents who read that
scenario, and a model need compute it only once. ``persona_first`` is the Alpaca order of the seed
project. Parts are tokenised apart, at a line's end, where Qwen's and Llama's pre-tokenizers split anyway,
so the tokens of training and of scoring are the same by construction.

What stands around the two texts is a format (:data:`FORMATS`). ``survey`` is plain text. ``chat`` and ``socrates``
are messages, written out by the tokenizer's own chat template up to where the assistant's answer begins; of the
whole, the answer's tokens and the end token behind them are scored, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from socrates.survey.personas import parse_persona
from socrates.survey.tables import DEMOGRAPHICS

Layout = Literal["scenario_first", "persona_first"]
Format = Literal["survey", "chat", "socrates"]
Messages = list[dict[str, str]]
Render = Callable[[Messages], str]  # messages as text, up to where the answer begins

HEAD = "### Instruction:\nPredict how this person answers the survey question.\n\n### Input:\n"
# The header ends with the space, so that the answer begins with its first digit or minus sign.
RESPONSE = "\n\n### Response:\nResponse: "
PLACES = {"scenario": "\ue000", "persona": "\ue001"}  # of the two texts in a format: private-use characters

# The words that the paper's released models were trained on; the line of the system as three public programs
# that ask them have it, the profile as rows of the dataset's column ``prompt`` show it (docs/experiments.md).
SOCRATES_SYSTEM = (
    "You are simulating a survey respondent. Answer exactly as instructed, "
    "following the specified response format without additional commentary."
)
SOCRATES_USER = (
    "You are a survey respondent with the following demographic profile:\n{persona}\n\n"
    "Read the question below and answer exactly as this person would. "
    "Follow the response instructions precisely.\n\n{scenario}"
)
# The profile's lines, in order. No row with an ethnicity was seen: where its line stands is a guess.
SOCRATES_FIELDS = (
    "age", "gender", "ethnicity", "education", "employment", "marital_status", "housing_ownership", "housing_type",
    "location", "metro_status", "income", "internet_access", "household_size", "party_id", "ideology", "phone_service",
)  # fmt: skip


def _survey(texts: str) -> str:
    return f"{HEAD}{texts}{RESPONSE}"


def _chat(texts: str) -> Messages:
    content = (
        f"Predict how this person answers the survey question.\n\n{texts}\n\nReply with the number alone."
    )
    return [{"role": "user", "content": content}]


def _socrates(texts: str) -> Messages:
    return [
        {"role": "system", "content": SOCRATES_SYSTEM},
        {"role": "user", "content": SOCRATES_USER.format(**PLACES)},
    ]


# What is written around both texts, given them as labelled paragraphs in their order; messages, or text.
FORMATS: dict[Format, Callable[[str], str | Messages]] = {
    "survey": _survey,
    "chat": _chat,
    "socrates": _socrates,
}


@dataclass(frozen=True)
class Template:
    """A format in a layout: what stands before and after each of the two texts in its part.

    Attributes:
        scenario, persona: before, after.
        restyle: from a persona's text to the one that the format has.
    """

    layout: Layout
    scenario: tuple[str, str]
    persona: tuple[str, str]
    restyle: Callable[[str], str]

    def scenario_part(self, stimuli: str) -> str:
        """The scenario's piece of the prompt."""
        return stimuli.join(self.scenario)

    def persona_part(self, persona: str) -> str:
        """The persona's piece of the prompt."""
        return self.restyle(persona).join(self.persona)

    def prompt(self, stimuli: str, persona: str) -> str:
        """The whole prompt up to the answer."""
        pieces = [self.scenario_part(stimuli), self.persona_part(persona)]
        return "".join(pieces if self.layout == "scenario_first" else reversed(pieces))


def _written(layout: Layout, form: Format) -> str | Messages:
    """A format with the places of both texts in it."""
    labelled = [f"Scenario: {PLACES['scenario']}", f"Demographics: {PLACES['persona']}"]
    return FORMATS[form]("\n\n".join(labelled if layout == "scenario_first" else reversed(labelled)))


def template(layout: Layout, form: Format = "survey", render: Render | None = None) -> Template:
    """The template of a format; ``render`` writes messages as text, for formats that are messages."""
    written = _written(layout, form)
    if not isinstance(written, str):
        assert render, f"format {form} needs a chat template"
        written = render(written)
    head, middle, tail = re.split("|".join(PLACES.values()), written)
    cut = re.search(r"\n+", middle).end()  # type: ignore[union-attr]  # every format has a line's end between the two
    parts = (head, middle[:cut]), (middle[cut:], tail)
    return Template(layout, *(parts if layout == "scenario_first" else parts[::-1]), RESTYLED.get(form, str))


def messages(
    stimuli: str, persona: str, form: Literal["chat", "socrates"], layout: Layout = "scenario_first"
) -> Messages:
    """A question as the messages of a chat."""
    texts = {PLACES["scenario"]: stimuli, PLACES["persona"]: RESTYLED.get(form, str)(persona)}
    pattern = "|".join(texts)
    return [
        {**message, "content": re.sub(pattern, lambda place: texts[place[0]], message["content"])}
        for message in _written(layout, form)
        if isinstance(message, dict)  # they are: no text has this format
    ]


def _profile(persona: str) -> str:
    """``Age: 34; Political affiliation: None`` as lines ``- Age: 34`` and ``- Party Id: None``."""
    fields, others = parse_persona(persona)
    known = {name.replace("_", " ").title(): fields[name] for name in SOCRATES_FIELDS if name in fields}
    return (
        "\n".join(f"- {label}: {value}" for label, value in {**known, **others}.items()) if known else persona
    )


RESTYLED: dict[Format, Callable[[str], str]] = {"socrates": _profile}


def answer_part(response: int) -> str:
    """The answer's piece; the end-of-answer token follows it."""
    return str(response)


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
