"""How a respondent and a scenario become the text a model reads.

A prompt is two texts that many rows have in common, each tokenised once, and the answer, which is learned and scored::

    scenario_first   [head + scenario] [persona + tail] [answer]
    persona_first    [head + persona] [scenario + tail] [answer]

With the scenario first, all who read it share what comes before the persona, and a model need compute it only once;
``persona_first`` is the Alpaca order of the seed project. Parts are tokenised apart, at a line's end, where Qwen's and
Llama's pre-tokenizers split anyway, so that the tokens of training and of scoring are the same by construction.
"""

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

ASK = "Predict how this person answers the survey question."
HEAD = f"### Instruction:\n{ASK}\n\n### Input:\n"
# The header ends with the space, so that the answer begins with its first digit or minus sign.
RESPONSE = "\n\n### Response:\nResponse: "
# What stands around the two texts: plain text, or messages that the tokenizer's own chat template writes out up to
# where the assistant's answer begins. {texts} are both as labelled paragraphs, in the layout's order.
# ``socrates`` are the words that the paper's released models were trained on; the line of the system as three public
# programs that ask them have it, the profile as rows of the dataset's column ``prompt`` show it (docs/experiments.md).
FORMATS: dict[Format, str | dict[str, str]] = {  # messages: role -> content
    "survey": f"{HEAD}{{texts}}{RESPONSE}",
    "chat": {"user": f"{ASK}\n\n{{texts}}\n\nReply with the number alone."},
    "socrates": {
        "system": "You are simulating a survey respondent. Answer exactly as instructed, "
        "following the specified response format without additional commentary.",
        "user": "You are a survey respondent with the following demographic profile:\n{persona}\n\n"
        "Read the question below and answer exactly as this person would. "
        "Follow the response instructions precisely.\n\n{scenario}",
    },
}
# Private-use characters, for scenario and persona while a format is cut into its parts.
PLACES = "\ue000", "\ue001"
# The profile's lines in order. No row with an ethnicity was seen: where its line stands is a guess.
SOCRATES_FIELDS = (
    "age", "gender", "ethnicity", "education", "employment", "marital_status", "housing_ownership", "housing_type",
    "location", "metro_status", "income", "internet_access", "household_size", "party_id", "ideology", "phone_service",
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """A format in a layout: what stands before and after scenario and persona, each in its part of the prompt."""

    layout: Layout
    form: Format
    scenario: tuple[str, str]
    persona: tuple[str, str]

    def scenario_part(self, stimuli: str) -> str:
        return stimuli.join(self.scenario)

    def persona_part(self, persona: str) -> str:
        return _styled(persona, self.form).join(self.persona)

    def prompt(self, stimuli: str, persona: str) -> str:
        """The whole prompt up to the answer."""
        pieces = [self.scenario_part(stimuli), self.persona_part(persona)]
        return "".join(pieces if self.layout == "scenario_first" else reversed(pieces))


def _filled(form: Format, layout: Layout, scenario: str, persona: str) -> str | Messages:
    """A format with both texts in it."""
    labelled = [f"Scenario: {scenario}", f"Demographics: {persona}"]
    texts = "\n\n".join(labelled if layout == "scenario_first" else reversed(labelled))
    fill = {"scenario": scenario, "persona": persona, "texts": texts}
    words = FORMATS[form]
    if isinstance(words, str):
        return words.format(**fill)
    return [{"role": role, "content": text.format(**fill)} for role, text in words.items()]


def template(layout: Layout, form: Format = "survey", render: Render | None = None) -> Template:
    """The template of a format; ``render`` writes messages as text, for formats that are messages."""
    written = _filled(form, layout, *PLACES)
    if not isinstance(written, str):
        assert render, f"format {form} needs a chat template"
        written = render(written)
    head, middle, tail = re.split("|".join(PLACES), written)
    cut = re.search(r"\n+", middle).end()  # type: ignore[union-attr]  # every format has a line's end between the two
    first, second = (head, middle[:cut]), (middle[cut:], tail)
    return Template(layout, form, *((first, second) if layout == "scenario_first" else (second, first)))


def messages(
    stimuli: str, persona: str, form: Literal["chat", "socrates"], layout: Layout = "scenario_first"
) -> Messages:
    """A question as the messages of a chat."""
    return _filled(form, layout, stimuli, _styled(persona, form))  # type: ignore[return-value]  # neither is a text


def _styled(persona: str, form: Format) -> str:
    """A persona as a format has it: ``socrates`` as lines ``- Age: 34`` and ``- Party Id: None``, others as it is."""
    if form != "socrates":
        return persona
    fields, others = parse_persona(persona)
    known = {name.replace("_", " ").title(): fields[name] for name in SOCRATES_FIELDS if name in fields}
    lines = (known | others).items() if known else ()
    return "\n".join(f"- {label}: {value}" for label, value in lines) or persona


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
