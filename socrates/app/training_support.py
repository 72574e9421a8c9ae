"""What training had seen, so that a question from outside is answered with a warning.

The model was tested on studies like those it learned from. A field, a scale or words that none of them had are a use
that nobody has measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from socrates.app.parse import Persona, Question, short
from socrates.core.files import read_table
from socrates.data.scales.instructions import READ
from socrates.survey.scales import Scale, scale
from socrates.survey.tables import DEMOGRAPHICS, SCALED_RESPONSES

MANY_VALUES = 40  # a field with more distinct values is free text or a number: its values are not checked
NEW_WORDS = 0.2  # share of a text's words that no training scenario has, from which it is said
FEW_ROWS = 2000  # training answers below which the model says next to nothing
LISTED = 5  # new words that are named
# What stands for an answer: "1 means Strongly oppose and", "7 = 'Strongly support'", "1 (never)", "2 for No;".
LABEL = re.compile(
    r"(?<![\w.,$])([-−–]?\d+)(?![\d%]|[.,]\d)[\"'”’]?"
    r"\s*(?:=|:|→|(?=\((?!\s*[-−–]?\d+\s*=))"
    r"|\b(?:means?|meaning|is|for|if|being|indicat(?:es?|ing)|represents?|corresponds to|stands for)\b)\s*"
    r"(?:\(([^()]*)\)|\"([^\"]*)\"|“([^”]*)”|['‘]((?:[^'’]|['’](?=\w))*)['’]"
    r"|([^,;.()\n]*?)(?=\s*(?:[,;.()\n]|$|\s(?:and|to|or)\s+[\"'“‘]?[-−–]?\d)))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TrainingSupport:
    """The range of a training table of so many rows.

    Attributes:
        values: the answers to each demographic field that was asked, sorted; of fields with more than
            ``MANY_VALUES`` none.
        numbers: the lowest and highest of fields whose answers are whole numbers.
        scales: the notations of its questions, sorted.
        labels: what the lowest and the highest answer of its questions stand for, see :func:`ends`.
        words: of all its scenarios.
    """

    rows: int
    values: dict[str, list[str]]
    numbers: dict[str, tuple[int, int]]
    scales: list[str]
    labels: set[tuple[str, str]]
    words: set[str]

    @property
    def cautions(self) -> list[str]:
        """That the model learned from few answers, if it did."""
        few = f"The model learned from {self.rows:,} answers, too few to say anything of people."
        return [few] if self.rows < FEW_ROWS else []

    def outside(self, persona: Persona, question: Question) -> list[str]:
        """What of a person asked a question lies outside the training range, a sentence each."""
        return self.of_persona(persona) + self.of_question(question)

    def of_persona(self, persona: Persona) -> list[str]:
        """What of a persona training had not seen, a sentence each."""
        found = [f"{label}: not a field of the training data" for label in persona.unknown]
        for field, value in persona.fields.items():
            label = DEMOGRAPHICS[field]
            if field not in self.values:
                found.append(f"{label}: no training respondent was asked")
            elif field in self.numbers:
                low, high = self.numbers[field]
                number = int(value) if value.isdecimal() and len(value) < 20 else None
                if number is None or not low <= number <= high:
                    found.append(f"{label}: {value[:60]} is outside the training data's {low} to {high}")
            elif self.values[field] and value not in self.values[field]:
                known = ", ".join(self.values[field][:8]) + (", ..." if len(self.values[field]) > 8 else "")
                found.append(
                    f"{label}: no training respondent answered {value[:60]!r} (they answered {known})"
                )
        return found

    def of_question(self, question: Question) -> list[str]:
        """What of a question lies outside the training range, a sentence each."""
        stimuli, on = question.stimuli, question.scale
        found = []
        if on.notation not in self.scales:
            known = ", ".join(self.scales[:8]) + (", ..." if len(self.scales) > 8 else "")
            found.append(f"scale {short(on)}: no training question had it (they had {known})")
        found += self._of_labels(ends(stimuli, on), on)
        new = sorted((words := tokens(stimuli)) - self.words)
        if len(new) > NEW_WORDS * len(words):
            named = ", ".join(new[:LISTED]) + (", ..." if len(new) > LISTED else "")
            found.append(f"words: {len(new)} of {len(words)} are in no training scenario ({named})")
        return found

    def _of_labels(self, given: tuple[str, str], on: Scale) -> list[str]:
        if given in self.labels:
            return []
        if not any(given):
            ends_of = f"{on.low} and {on.high}"
            return [f"answers: the text does not say what {ends_of} stand for; training questions did"]
        said = " and ".join(
            f"{option} for {f'{label[:60]!r}' if label else 'nothing'}"
            for option, label in zip((on.low, on.high), given, strict=True)
        )
        if given[::-1] in self.labels:
            return [f"answers: {said}; training questions had it the other way round only"]
        return [f"answers: {said}; no training question had these ends"]


def tokens(text: str) -> set[str]:
    """The words of a text, in lower case, without numbers."""
    return set(re.findall(r"[^\W\d_]+", text.lower()))


def ends(stimuli: str, on: Scale) -> tuple[str, str]:
    """What the text says that the lowest and the highest answer stand for, in lower case; "" for nothing."""
    found = {}
    for answer, *words in LABEL.findall(stimuli[-READ:]):
        found[re.sub("[−–]", "-", answer)] = " ".join("".join(words).split()).casefold()
    return found.get(str(on.low), ""), found.get(str(on.high), "")


def read_support(training_table: Path) -> TrainingSupport:
    """The range of a training table. Raises :class:`DataError` where the file is none."""
    return summarise(read_table(training_table, SCALED_RESPONSES))


def summarise(table: pl.DataFrame) -> TrainingSupport:
    """The range of a table of ``SCALED_RESPONSES``."""
    people = table["demographic"].struct.unnest()
    values, numbers = {}, {}
    for field in DEMOGRAPHICS:
        answers = people[field].drop_nulls().unique().sort()
        if not len(answers):
            continue
        whole = answers.cast(pl.Int64, strict=False)
        if whole.null_count() == 0:
            numbers[field] = int(whole.min()), int(whole.max())  # type: ignore[arg-type]
        values[field] = answers.to_list() if len(answers) <= MANY_VALUES else []
    texts = table["stimuli"].unique()
    on = dict(table.select("stimuli", "scale").unique().drop_nulls().sort("scale").iter_rows())
    return TrainingSupport(
        len(table),
        values,
        numbers,
        table["scale"].drop_nulls().unique().sort().to_list(),
        {ends(text, scale(notation)) for text, notation in on.items()},
        set().union(*map(tokens, texts)),
    )
