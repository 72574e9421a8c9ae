"""What a person types, as the model's training saw it: personas, scenarios and their scales.

A question to the model is a row of a table with the columns of :data:`QUESTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from socrates.core.errors import DataError
from socrates.core.files import Schema
from socrates.data.scales.instructions import CUE, READ, parse_instruction
from socrates.data.sources.local import LABELS, parse_persona
from socrates.survey.scales import Scale, grid, scale
from socrates.survey.tables import DEMOGRAPHICS

# persona: "Age: 30; Gender: Female", or "unknown"; stimuli: scenario, question and answer instruction
# in one text; scale: a notation (see survey.scales).
QUESTIONS: Schema = {"persona": pl.String, "stimuli": pl.String, "scale": pl.String}

LONGEST_TEXT = 100_000  # characters; far beyond any survey question, far below what would hang a tokenizer
MOST_OPTIONS = 1001  # a longer scale is thinned, as in the pipeline
COMMA_BEFORE_LABEL = re.compile(
    rf"[,\n]\s*(?=(?:{'|'.join(map(re.escape, sorted(LABELS, key=len, reverse=True)))})\s*:)", re.IGNORECASE
)
RANGE = re.compile(r"\s*([-−]?\d+)\s*(?:\.\.|-|–|to)\s*([-−]?\d+)\s*(?:/\s*(\d+))?\s*")
ADDED = "asked with"  # begins the note on an instruction that a text had not
MANY_DIGITS = re.compile(r"\d{13}")
AGAIN = re.compile(rf"; (?P<label>{'|'.join(map(re.escape, LABELS))}):", re.IGNORECASE)
WHOLE = re.compile(r"(\d+)\.0+")  # what other programs make of whole numbers where some are missing


@dataclass(frozen=True)
class Persona:
    """A respondent as the prompt describes them.

    Attributes:
        text: ``Age: 30; Gender: Female``, known fields first and in the order of training.
        fields: value by field of ``survey.tables.DEMOGRAPHICS``.
        unknown: value by label, of labels that the survey tables do not have.
    """

    text: str
    fields: dict[str, str]
    unknown: dict[str, str]


@dataclass(frozen=True)
class Asked:
    """A scenario that can be answered.

    Attributes:
        stimuli: the text as the model reads it.
        scale: the integers that answer it, thinned to ``MOST_OPTIONS``.
        rule: how the scale was found; ``given`` where the user said it.
        notes: what the user should know about the reading, one sentence each.
    """

    stimuli: str
    scale: Scale
    rule: str
    notes: tuple[str, ...] = ()


def persona(demographics: str | Mapping[str, str | None]) -> Persona:
    """The persona of a text (``Age: 30; Gender: Female``) or of fields (``{"age": "30"}``).

    Labels are those of the survey tables, as printed or as the field's name, in any case; commas or line
    breaks may stand between them. A label that is none of them is kept as it is.

    Raises:
        DataError: the text holds no label, or is too long; a field is given twice.
    """
    if isinstance(demographics, str):
        text = checked_text(demographics, "demographics")
        text = COMMA_BEFORE_LABEL.sub("; ", " ".join(text.split(" ")).strip().rstrip(";"))
        parts = [part.strip() for part in re.split(r";\s*|\n+", text)]
        fields, unknown = parse_persona("; ".join(part[:1].upper() + part[1:] for part in parts))
        if text and not fields and not unknown and text.lower() != "unknown":
            raise DataError(
                f"demographics {quoted(text)}: no field was understood; write them as 'Age: 30; Gender: Female'"
            )
        if again := next(filter(None, map(AGAIN.search, fields.values())), None):
            raise DataError(f"demographics {quoted(text)}: {again['label']} is given twice; keep one")
    else:
        given = {label: str(value).strip() for label, value in demographics.items() if value is not None}
        given = {label: value for label, value in given.items() if value}
        known_as = [LABELS[label.lower()] for label in given if label.lower() in LABELS]
        if twice := sorted({field for field in known_as if known_as.count(field) > 1}):
            raise DataError(f"demographics: {twice[0]} is given twice ({', '.join(given)}); keep one")
        fields = {LABELS[label.lower()]: value for label, value in given.items() if label.lower() in LABELS}
        unknown = {label: value for label, value in given.items() if label.lower() not in LABELS}
    fields = {
        field: WHOLE.sub(r"\1", value) if WHOLE.fullmatch(value) else value for field, value in fields.items()
    }
    known = [f"{label}: {fields[field]}" for field, label in DEMOGRAPHICS.items() if field in fields]
    others = [f"{label}: {value}" for label, value in unknown.items()]
    return Persona("; ".join([*known, *others]) or "unknown", fields, unknown)


def asked(scenario: str, given: str | None = None) -> Asked:
    """The scenario with its scale: the one given, or the one that its text states.

    A scenario that states none gets an answer instruction with the given one, because training never
    saw a question without.

    Args:
        given: ``1-7``, ``0-1000/100`` (steps of 100) or ``1,2,98``.

    Raises:
        DataError: the scenario is empty or too long, or no scale is stated and none given.
    """
    text = checked_text(scenario, "scenario").strip()
    if not text:
        raise DataError("scenario: is empty; give the text that respondents read, with its question")
    parsed = parse_instruction(text)
    stated = parsed.scale if parsed else None
    if given is None:
        if stated is None or parsed is None:
            raise DataError(
                f"scenario {quoted(text)}: {_understood(parsed)}; add 'Only return an integer from 1 to 7.' "
                "to it, or give its scale (--scale 1-7)"
            )
        before = _stated_before(text)
        notes: tuple[str, ...] = ()
        if before is not None and before.options != stated.options:
            notes = (f"the text states {short(before)} too; answers are read on {short(stated)}, its last",)
        return _thinned(Asked(text, stated, parsed.rule, notes))
    wanted = parse_scale(given)
    if stated is None:
        instruction = _instruction(wanted)
        return _thinned(
            Asked(
                f"{text} {instruction}",
                wanted,
                "given",
                (f"{ADDED} “{instruction}” added to the scenario",),
            )
        )
    if stated.options != wanted.options:
        note = f"the scenario states {short(stated)}; answers are read on {short(wanted)}, as given"
        return _thinned(Asked(text, wanted, "given", (note,)))
    return _thinned(Asked(text, wanted, "given"))


def parse_scale(text: str) -> Scale:
    """The scale of ``1-7``, ``1..7``, ``1 to 7``, ``0-1000/100`` or ``1,2,98``. Raises :class:`DataError`."""
    if MANY_DIGITS.search(text):
        raise DataError(f"scale {quoted(text)}: answers of more than 12 digits are not read")
    match = RANGE.fullmatch(text)
    if match:
        low, high = (end.replace("−", "-") for end in match.group(1, 2))
        if int(low) >= int(high):
            raise DataError(f"scale {text!r}: the first number is the lowest answer, as in 1-7")
        return scale(f"{low}..{high}" + (f"/{match[3]}" if match[3] and int(match[3]) > 1 else ""))
    return scale(text.replace(" ", ""))


def checked_text(text: str, name: str) -> str:
    """``text``, unless it is too long to be one or no Unicode. Raises :class:`DataError`."""
    if len(text) > LONGEST_TEXT:
        raise DataError(f"{name}: {len(text):,} characters; at most {LONGEST_TEXT:,} are read")
    try:
        text.encode()
    except UnicodeEncodeError:  # halves of characters: bytes that a shell passed on, escapes of a JSON
        raise DataError(
            f"{name}: holds what is no UTF-8 text; type it anew, or save its file as UTF-8"
        ) from None
    return text


def short(on: Scale) -> str:
    """The notation of a scale, for a person to read: of a long list its ends and how many there are."""
    notation = on.notation
    return notation if len(notation) <= 40 else f"{on.low}..{on.high} ({len(on.options):,} answers)"


def _stated_before(text: str) -> Scale | None:
    """The scale of the text before its last instruction, where there is one."""
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


def _thinned(question: Asked) -> Asked:
    whole, thin = question.scale, grid(question.scale, MOST_OPTIONS)
    if len(thin.options) == len(whole.options):
        return question
    note = f"{whole.notation} has {len(whole.options):,} answers; {len(thin.options):,} round ones stand for them"
    return Asked(question.stimuli, thin, question.rule, (*question.notes, note))


def _understood(parsed: object) -> str:
    low, high = getattr(parsed, "low", None), getattr(parsed, "high", None)
    if low is None and high is None:
        return "understood no answer scale"
    return (
        f"understood an integer {f'of {low} or more' if low is not None else f'up to {high}'}, no whole range"
    )


def quoted(text: str) -> str:
    """The beginning of a text, for a message."""
    folded = " ".join(text.split())
    return repr(folded if len(folded) <= 60 else folded[:57] + "...")
