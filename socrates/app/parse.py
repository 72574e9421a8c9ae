"""What a user types, as the model's training saw it: personas, scenarios and their scales; questions to try."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from socrates.core.errors import DataError
from socrates.core.files import Schema
from socrates.data.scales.instructions import CUE, READ, parse_instruction
from socrates.survey.personas import LABELS, SPELLINGS, UNLABELLED, is_missing, parse_persona
from socrates.survey.scales import Scale, scale, thin_scale
from socrates.survey.tables import DEMOGRAPHICS

# A question to the model. persona: "Age: 30; Gender: Female", or "unknown"; stimuli: scenario, question and answer
# instruction in one text; scale: a notation (see survey.scales).
QUESTIONS: Schema = {"persona": pl.String, "stimuli": pl.String, "scale": pl.String}

LONGEST_TEXT = 100_000  # characters; far beyond any survey question, far below what would hang a tokenizer
MOST_OPTIONS = 1001  # a longer scale is thinned, as in the pipeline
REPEATED = re.compile(rf"; (?P<label>{SPELLINGS}):", re.IGNORECASE)
RANGE = re.compile(r"\s*([-−]?\d+)\s*(?:\.\.|-|–|to)\s*([-−]?\d+)\s*(?:/\s*(\d+))?\s*")
LABELLED_NUMBER = re.compile(r"(?<![\w.,$-])(\d{1,3})\s?(?:=|means\b|being\b)\s*(?=[A-Za-z\"'“‘])")
ADDED = "asked with"  # begins the note on an instruction that a text lacked
WHOLE = re.compile(r"(\d+)\.0+\Z")  # how other programs write whole numbers where some are missing


class Example(NamedTuple):
    demographics: str
    scenario: str


BUS = (
    "You read about a plan in your county to build a new bus line. It would raise the sales tax by half a percent "
    "for six years. How likely are you to vote for it? Only return an integer from 0 to 100, where 0 means Very "
    "unlikely and 100 means Very likely, nothing else."
)
VITRUD = (  # of the default's made world, on a topic of a test study
    'People here talk about "vitrud". Members of "toflur" endorse it. How much do you support or oppose "vitrud"? '
    "Only return an integer from 1 to 7, where 1 means Strongly oppose and 7 means Strongly support, nothing else."
)
LEFT = "Political affiliation: Strong Democrat; Ideology: Very Liberal"
RIGHT = "Political affiliation: Strong Republican; Ideology: Very Conservative"
EXAMPLES = [  # ``predict --example N``
    Example(f"Age: 30; Gender: Female; Education: Post grad study/professional degree; {LEFT}", VITRUD),
    Example(f"Age: 61; Gender: Male; Education: High school graduate or equivalent; {RIGHT}", BUS),
    Example(f"Age: 24; Gender: Female; {LEFT}", BUS),
]


@dataclass(frozen=True)
class Persona:
    """A respondent: the prompt's ``text`` (``Age: 30; Gender: Female``, known fields first, in the order of training),
    value by field of ``survey.tables.DEMOGRAPHICS``, and by label that is no field's."""

    text: str
    fields: dict[str, str]
    unknown: dict[str, str]


@dataclass(frozen=True)
class Question:
    """A scenario as the model reads it, and the integers that answer it, thinned to ``MOST_OPTIONS``; ``rule`` is how
    they were found (``given``: by the user), ``notes`` what the user should know of the reading, a sentence each."""

    stimuli: str
    scale: Scale
    rule: str
    notes: tuple[str, ...] = ()


def parse_demographics(given: str | Mapping[str, str | None]) -> Persona:
    """The persona of a text (``Age: 30; Gender: Female``) or of fields (``{"age": "30"}``); an unknown label is kept.
    Raises :class:`DataError` for a text without labels or too long, and for a field that is given twice."""
    fields: dict[str, str] = {}
    unknown: dict[str, str] = {}
    if isinstance(given, str):
        text = checked_text(given, "demographics").strip().rstrip(";")
        text = "" if text.lower() == "unknown" else text
        parts = [part.strip() for part in re.split(r";\s*|\n+", text)]
        fields, unknown = parse_persona("; ".join(part[:1].upper() + part[1:] for part in parts))
        if not fields and set(unknown) == {UNLABELLED}:
            advice = "no field was understood; write them as 'Age: 30; Gender: Female'"
            raise DataError(f"demographics {quoted(text)}: {advice}")
        if repeated := next(filter(None, map(REPEATED.search, fields.values())), None):
            raise DataError(f"demographics {quoted(text)}: {repeated['label']} is given twice; keep one")
    else:
        for label, value in given.items():
            if value is None or is_missing(text := str(value).strip()):
                continue
            name = label.strip()
            field = LABELS.get(name.lower())
            if field in fields:
                raise DataError(f"demographics: {field} is given twice ({', '.join(given)}); keep one")
            (unknown if field is None else fields)[field or name] = text
    fields = {field: WHOLE.sub(r"\1", value) for field, value in fields.items()}
    known = [f"{label}: {fields[field]}" for field, label in DEMOGRAPHICS.items() if field in fields]
    others = [f"{label}: {value}" for label, value in unknown.items() if label != UNLABELLED]
    return Persona("; ".join([*known, *others]) or "unknown", fields, unknown)


def parse_question(scenario: str, given: str | None = None, how: str = "--scale 1-7") -> Question:
    """The scenario with the scale that is ``given`` (see :func:`parse_scale`), or that its text states. Where the text
    states none it gets an answer instruction, because training never saw a question without. Raises :class:`DataError`
    for a text that is empty or too long, and where there is no scale; ``how`` says how to give one."""
    text = checked_text(scenario, "scenario").strip()
    if not text:
        raise DataError("scenario: is empty; give the text that respondents read, with its question")
    parsed = parse_instruction(text)
    stated = parsed.scale if parsed else None
    notes: list[str] = []
    if given is not None:
        whole, rule = parse_scale(given), "given"
        if stated is None:
            instruction = _instruction(whole)
            text = f"{text} {instruction}"
            notes.append(f"{ADDED} “{instruction}” added to the scenario")
        elif stated.options != whole.options:
            notes.append(f"the scenario states {short(stated)}; answers are read on {short(whole)}, as given")
    elif parsed is None or stated is None:
        understood = "no answer scale"
        if parsed and (parsed.low, parsed.high) != (None, None):
            part = f"up to {parsed.high}" if parsed.low is None else f"of {parsed.low} or more"
            understood = f"an integer {part}, no whole range"
        advice = f"add 'Only return an integer from 1 to 7.' to it, or give its scale ({how})"
        raise DataError(f"scenario {quoted(text)}: understood {understood}; {advice}")
    else:
        whole, rule = stated, parsed.rule
        cues = list(CUE.finditer(end := text[-READ:]))
        before = parse_instruction(end[: cues[-1].start()]) if cues else None
        if before and before.scale and before.scale.options != whole.options:
            first = short(before.scale)
            notes.append(f"the text states {first} too; answers are read on {short(whole)}, its last")
    thin = thin_scale(whole, MOST_OPTIONS)
    labelled = {int(number) for number in LABELLED_NUMBER.findall(text[-READ:])}
    if stray := sorted(labelled - set(thin.options)):
        notes.append(f"the label of {', '.join(map(str, stray))} lies outside {short(whole)}")
    if (kept := len(thin.options)) < (count := len(whole.options)):
        notes.append(f"{whole.notation} has {count:,} answers; {kept:,} round ones stand for them")
    return Question(text, thin, rule, tuple(notes))


def parse_scale(text: str) -> Scale:
    """The scale of ``1-7``, ``1..7``, ``1 to 7``, ``0-1000/100`` or ``1,2,98``. Raises :class:`DataError`."""
    if re.search(r"\d{13}", text):
        raise DataError(f"scale {quoted(text)}: answers of more than 12 digits are not read")
    match = RANGE.fullmatch(text)
    if not match:
        return scale(text.replace(" ", ""))
    low, high = (end.replace("−", "-") for end in match.group(1, 2))
    if int(low) >= int(high):
        raise DataError(f"scale {text!r}: the first number is the lowest answer, as in 1-7")
    return scale(f"{low}..{high}" + (f"/{match[3]}" if match[3] and int(match[3]) > 1 else ""))


def checked_text(text: str, name: str) -> str:
    """``text``, unless it is too long or cannot be written as UTF-8. Raises :class:`DataError`."""
    if len(text) > LONGEST_TEXT:
        raise DataError(f"{name}: {len(text):,} characters; at most {LONGEST_TEXT:,} are read")
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: bytes that a shell passed on, escapes of a JSON
        advice = "holds what is no UTF-8 text; type it anew, or save its file as UTF-8"
        raise DataError(f"{name}: {advice}") from None
    return text


def short(on: Scale) -> str:
    """The notation of a scale; of a long list its ends and how many there are."""
    notation = on.notation
    return notation if len(notation) <= 40 else f"{on.low}..{on.high} ({len(on.options):,} answers)"


def quoted(text: str) -> str:
    """The beginning of a text, for a message."""
    folded = " ".join(text.split())
    return repr(folded if len(folded) <= 60 else folded[:57] + "...")


def _instruction(on: Scale) -> str:
    options = on.options
    if isinstance(options, range) and len(options) > 2:
        step = "" if options.step == 1 else f" in steps of {options.step}"
        return f"Only return an integer from {on.low} to {on.high}{step}, nothing else."
    listed = ", ".join(map(str, options[:-1]))
    return f"Only return {listed} or {options[-1]}, nothing else."
