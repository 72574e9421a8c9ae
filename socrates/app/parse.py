"""What a user types, as the model's training saw it: personas, scenarios and their scales.

A question to the model is a row of a table with the columns of :data:`QUESTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from socrates.core.errors import DataError
from socrates.core.files import Schema
from socrates.data.scales.grammar import ParsedScale
from socrates.data.scales.instructions import CUE, READ, parse_instruction
from socrates.survey.personas import LABELS, SPELLINGS, UNLABELLED, is_missing, parse_persona
from socrates.survey.scales import Scale, scale, thin_scale
from socrates.survey.tables import DEMOGRAPHICS

# persona: "Age: 30; Gender: Female", or "unknown"; stimuli: scenario, question and answer instruction
# in one text; scale: a notation (see survey.scales).
QUESTIONS: Schema = {"persona": pl.String, "stimuli": pl.String, "scale": pl.String}

LONGEST_TEXT = 100_000  # characters; far beyond any survey question, far below what would hang a tokenizer
MOST_OPTIONS = 1001  # a longer scale is thinned, as in the pipeline
REPEATED = re.compile(rf"; (?P<label>{SPELLINGS}):", re.IGNORECASE)
RANGE = re.compile(r"\s*([-−]?\d+)\s*(?:\.\.|-|–|to)\s*([-−]?\d+)\s*(?:/\s*(\d+))?\s*")
LABELLED_NUMBER = re.compile(r"(?<![\w.,$-])(\d{1,3})\s?(?:=|means\b|being\b)\s*(?=[A-Za-z\"'“‘])")
ADDED = "asked with"  # begins the note on an instruction that a text lacked
WHOLE = re.compile(r"(\d+)\.0+\Z")  # how other programs write whole numbers where some are missing


@dataclass(frozen=True)
class Persona:
    """A respondent: the prompt's ``text`` (``Age: 30; Gender: Female``, known fields first, in the order of training),
    value by field of ``survey.tables.DEMOGRAPHICS``, and by label that is no field's."""

    text: str
    fields: dict[str, str]
    unknown: dict[str, str]


@dataclass(frozen=True)
class Question:
    """A scenario that can be answered.

    Attributes:
        stimuli: the text as the model reads it.
        scale: the integers that answer it, thinned to ``MOST_OPTIONS``.
        rule: how the scale was found; ``given`` where the user gave it.
        notes: what the user should know about the reading, one sentence each.
    """

    stimuli: str
    scale: Scale
    rule: str
    notes: tuple[str, ...] = ()


def parse_demographics(given: str | Mapping[str, str | None]) -> Persona:
    """The persona of a text (``Age: 30; Gender: Female``) or of fields (``{"age": "30"}``).

    Labels are those of the survey tables, as printed or as the field's name, in any case; commas or line
    breaks may stand between them. An unknown label is kept as it is.

    Raises:
        DataError: the text holds no label, or is too long; a field is given twice.
    """
    fields, unknown = _from_text(given) if isinstance(given, str) else _from_mapping(given)
    fields = {field: WHOLE.sub(r"\1", value) for field, value in fields.items()}
    known = [f"{label}: {fields[field]}" for field, label in DEMOGRAPHICS.items() if field in fields]
    others = [f"{label}: {value}" for label, value in unknown.items() if label != UNLABELLED]
    return Persona("; ".join([*known, *others]) or "unknown", fields, unknown)


def _from_text(given: str) -> tuple[dict[str, str], dict[str, str]]:
    """Known and unknown fields of ``Age: 30; Gender: Female``."""
    text = checked_text(given, "demographics").strip().rstrip(";")
    text = "" if text.lower() == "unknown" else text
    parts = [part.strip() for part in re.split(r";\s*|\n+", text)]
    fields, unknown = parse_persona("; ".join(part[:1].upper() + part[1:] for part in parts))
    if not fields and set(unknown) == {UNLABELLED}:
        raise DataError(
            f"demographics {quoted(text)}: no field was understood; write them as 'Age: 30; Gender: Female'"
        )
    if repeated := next(filter(None, map(REPEATED.search, fields.values())), None):
        raise DataError(f"demographics {quoted(text)}: {repeated['label']} is given twice; keep one")
    return fields, unknown


def _from_mapping(given: Mapping[str, str | None]) -> tuple[dict[str, str], dict[str, str]]:
    """Known and unknown fields of ``{"age": "30"}``; missing values are left out."""
    fields: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for label, value in (
        (label.strip(), str(value).strip()) for label, value in given.items() if value is not None
    ):
        field = LABELS.get(label.lower())
        if is_missing(value):
            continue
        if field in fields:
            raise DataError(f"demographics: {field} is given twice ({', '.join(given)}); keep one")
        (unknown if field is None else fields)[field or label] = value
    return fields, unknown


def parse_question(scenario: str, given: str | None = None, how: str = "--scale 1-7") -> Question:
    """The scenario with its scale: the one given, or the one that its text states.

    A scenario that states none gets an answer instruction with the given one, because training never
    saw a question without.

    Args:
        given: see :func:`parse_scale`.
        how: to give a scale, for the message.

    Raises:
        DataError: the scenario is empty or too long, or no scale is stated and none given.
    """
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
        raise DataError(
            f"scenario {quoted(text)}: {_understood(parsed)}; add 'Only return an integer from 1 to 7.' "
            f"to it, or give its scale ({how})"
        )
    else:
        whole, rule = stated, parsed.rule
        before = _stated_before(text)
        if before is not None and before.options != whole.options:
            notes.append(f"the text states {short(before)} too; answers are read on {short(whole)}, its last")
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
        raise DataError(
            f"{name}: holds what is no UTF-8 text; type it anew, or save its file as UTF-8"
        ) from None
    return text


def short(on: Scale) -> str:
    """The notation of a scale; of a long list its ends and how many there are."""
    notation = on.notation
    return notation if len(notation) <= 40 else f"{on.low}..{on.high} ({len(on.options):,} answers)"


def quoted(text: str) -> str:
    """The beginning of a text, for a message."""
    folded = " ".join(text.split())
    return repr(folded if len(folded) <= 60 else folded[:57] + "...")


def _stated_before(text: str) -> Scale | None:
    """The scale that the text states before its last instruction, if any."""
    text = text[-READ:]
    cues = list(CUE.finditer(text))
    parsed = parse_instruction(text[: cues[-1].start()]) if cues else None
    return parsed.scale if parsed else None


def _instruction(on: Scale) -> str:
    options = on.options
    if isinstance(options, range) and len(options) > 2:
        step = "" if options.step == 1 else f" in steps of {options.step}"
        return f"Only return an integer from {on.low} to {on.high}{step}, nothing else."
    listed = ", ".join(map(str, options[:-1]))
    return f"Only return {listed} or {options[-1]}, nothing else."


def _understood(parsed: ParsedScale | None) -> str:
    if parsed is None or parsed.low is parsed.high is None:
        return "understood no answer scale"
    stated = f"up to {parsed.high}" if parsed.low is None else f"of {parsed.low} or more"
    return f"understood an integer {stated}, no whole range"
