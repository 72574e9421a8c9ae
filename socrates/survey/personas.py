"""Who answers: the labels that describe a respondent, in the spellings people use, and what counts as missing."""

import re
from collections.abc import Mapping

from socrates.survey.tables import DEMOGRAPHICS

ALIASES = {  # what other surveys and programs call a field
    "age": ("age in years", "age_years"),
    "gender": ("sex",),
    "education": ("educ", "schooling", "education level"),
    "ethnicity": ("race", "race/ethnicity", "race_ethnicity", "raceth"),
    "income": ("household income", "household_income", "hhincome"),
    "employment": ("employment status", "work status"),
    "party_id": ("party", "pid", "partyid", "political party", "party identification"),
    "ideology": ("political ideology", "ideo"),
    "location": ("state", "region"),
    "marital_status": ("marital",),
    "household_size": ("hhsize",),
}
# A label, as printed, as the dataset's field name or as another survey calls it, in lower case -> field.
LABELS = {
    spelling.lower(): field
    for field, label in DEMOGRAPHICS.items()
    for spelling in (label, field, field.replace("_", " "), *ALIASES.get(field, ()))
}
UNLABELLED = "text without a label"
LABELLED = re.compile(r"(?P<label>[A-Za-z][A-Za-z_/ -]{0,30}?) ?(?P<mark>[:=]) ?(?P<value>.*)", re.DOTALL)
SPELLINGS = "|".join(map(re.escape, sorted(LABELS, key=len, reverse=True)))
SEPARATOR = re.compile(rf"[;,\n]\s*(?=(?:{SPELLINGS})\s*[:=])", re.IGNORECASE)  # before a label that is known
# What R, Stata, SPSS and spreadsheets write where an answer is missing (RE2 and Python read both patterns); of a
# demographic field, codes such as -9 and 999 too.
MISSING = r"(?i)^\s*(?:n/?a|<na>|#n/?a|nan|null|#null!|missing|\.[a-z]?|-+|\?)?\s*$"
MISSING_FIELD = rf"{MISSING}|^\s*(?:-\d+|9{{3,}})(?:\.0*)?\s*$"


def is_missing(value: str) -> bool:
    """Whether the value of a demographic field says that there is none."""
    return re.match(MISSING_FIELD, value) is not None


def parse_persona(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The demographic fields of ``Age: 76; Gender: Male``, and what is not understood: label -> value.

    Before a label that is known a comma or a line break may stand for the semicolon. Values may hold "; " and ": "
    themselves. A part that does not begin with a label that is known (``sex=Male`` will do), or like one (a capital,
    then at most 30 letters, before a colon), belongs to the value before it. A label counts once: a second ``Age:``
    belongs to the value before it as well. Missing values are left out.
    """
    fields: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    current: list[str] | None = None  # the value that a continuation belongs to
    for part in map(str.strip, SEPARATOR.sub("; ", text.strip()).split("; ")):
        match = LABELLED.fullmatch(part)
        field = LABELS.get(match["label"].lower()) if match else None
        among, name = (fields, field) if field else (unknown, match["label"] if match else UNLABELLED)
        labelled = match and (field or (match["mark"] == ":" and match["label"][0].isupper()))
        if match and labelled and name not in among:
            current = among[name] = [match["value"].strip()]
        elif current:
            current.append(part)
        elif part:
            current = unknown[UNLABELLED] = [part]
    joined = ({name: "; ".join(parts) for name, parts in found.items()} for found in (fields, unknown))
    known, others = ({k: v for k, v in found.items() if not is_missing(v)} for found in joined)
    return known, others


def persona_fields(known: Mapping[str, int], unknown: Mapping[str, int], rows: int) -> str:
    """What personas were read from: ``persona from age, income (40 of 180 rows); not understood: Sect (180 rows)``."""
    used = [name if n == rows else f"{name} ({n:,} of {rows:,} rows)" for name, n in known.items()]
    others = [f"{name} ({n:,} rows)" for name, n in sorted(unknown.items()) if n]
    text = f"persona from {', '.join(used) or 'nothing: no row has a field that is known'}"
    return f"{text}; not understood: {', '.join(others)}" if others else text
