"""What training had seen, so that a question from outside is answered with a warning.

The model was tested on studies like those it learned from. A field, a scale or a length that none of
them had is a use that nobody has measured.
"""

from __future__ import annotations

import functools
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
    r"(?<![\w.,$])(?P<answer>[-−–]?\d+)(?![\d%]|[.,]\d)[\"'”’]?"
    r"\s*(?:=|:|→|(?=\((?!\s*[-−–]?\d+\s*=))"
    r"|\b(?:means?|meaning|is|for|if|being|indicat(?:es?|ing)|represents?|corresponds to|stands for)\b)\s*"
    r"(?:\((?P<a>[^()]*)\)|\"(?P<b>[^\"]*)\"|“(?P<c>[^”]*)”|['‘](?P<d>(?:[^'’]|['’](?=\w))*)['’]"
    r"|(?P<e>[^,;.()\n]*?)(?=\s*(?:[,;.()\n]|$|\s(?:and|to|or)\s+[\"'“‘]?[-−–]?\d)))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TrainingSupport:
    """The range of a training table.

    Attributes:
        rows: its length.
        values: the answers to each demographic field that was asked, sorted; of fields with more than
            ``MANY_VALUES`` none.
        numbers: the lowest and highest of fields whose answers are whole numbers.
        scales: the notations of its questions, sorted.
        characters: length of its shortest and longest scenario.
        fewest: demographic fields of the respondent with fewest.
        labels: what the lowest and the highest answer of its questions stand for, see :func:`ends`, sorted.
        words: of all its scenarios, sorted.
    """

    rows: int
    values: dict[str, list[str]]
    numbers: dict[str, list[int]]
    scales: list[str]
    characters: list[int]
    fewest: int
    labels: list[list[str]]
    words: list[str]

    @property
    def cautions(self) -> list[str]:
        """That the model learned from few answers, if it did."""
        if self.rows >= FEW_ROWS:
            return []
        return [f"The model learned from {self.rows:,} answers, too few to say anything of people."]

    def outside(self, persona: Persona, question: Question) -> list[str]:
        """What of a person asked a question lies outside the training range, a sentence each."""
        return self.of_persona(persona) + self.of_question(question)

    def of_persona(self, persona: Persona) -> list[str]:
        """What of a persona training had not seen, a sentence each."""
        found = [f"{label}: not a field of the training data" for label in persona.unknown]
        if len(persona.fields) < self.fewest:
            found.append(
                f"persona: {len(persona.fields)} of the fields; every training respondent had {self.fewest} or more"
            )
        for field, value in persona.fields.items():
            label = DEMOGRAPHICS[field]
            if field not in self.values:
                found.append(f"{label}: no training respondent was asked")
            elif field in self.numbers:
                low, high = self.numbers[field]
                if not value.isdecimal() or not low <= int(value) <= high:
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
            lengths = sorted(len(scale(notation).options) for notation in self.scales)
            known = ", ".join(self.scales[:8]) + (", ..." if len(self.scales) > 8 else "")
            if lengths and not lengths[0] <= len(on.options) <= lengths[-1]:
                lengths_had = f"{lengths[0]:,} to {lengths[-1]:,}"
                found.append(f"scale {short(on)}: training questions had {lengths_had} answers")
            else:
                found.append(f"scale {short(on)}: no training question had it (they had {known})")
        found += self._of_labels(ends(stimuli, on), on)
        new = sorted((words := set(tokens(stimuli))) - self._words)
        if len(new) > NEW_WORDS * len(words):
            named = ", ".join(new[:LISTED]) + (", ..." if len(new) > LISTED else "")
            found.append(f"words: {len(new)} of {len(words)} are in no training scenario ({named})")
        low, high = self.characters
        if not low <= len(stimuli) <= high:
            found.append(f"scenario: {len(stimuli):,} characters; training scenarios had {low:,} to {high:,}")
        return found

    def _of_labels(self, given: list[str], on: Scale) -> list[str]:
        if given in self.labels:
            return []
        if given == ["", ""]:
            return [
                f"answers: the text does not say what {on.low} and {on.high} stand for; training questions did"
            ]
        said = " and ".join(
            f"{option} for {f'{label[:60]!r}' if label else 'nothing'}"
            for option, label in zip((on.low, on.high), given, strict=True)
        )
        if given[::-1] in self.labels:
            return [f"answers: {said}; training questions had it the other way round only"]
        return [f"answers: {said}; no training question had these ends"]

    @functools.cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(self.words)


def tokens(text: str) -> list[str]:
    """The words of a text, in lower case, without numbers."""
    return re.findall(r"[^\W\d_]+", text.lower())


def ends(stimuli: str, on: Scale) -> list[str]:
    """What the text says that the lowest and the highest answer stand for, in lower case; "" for nothing."""
    found = {}
    for match in LABEL.finditer(stimuli[-READ:]):
        words = next(
            words for name, words in match.groupdict().items() if name != "answer" and words is not None
        )
        found[match["answer"].replace("−", "-").replace("–", "-")] = " ".join(words.split()).casefold()
    return [found.get(str(option), "") for option in (on.low, on.high)]


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
            numbers[field] = [int(whole.min()), int(whole.max())]  # type: ignore[arg-type]
        values[field] = answers.to_list() if len(answers) <= MANY_VALUES else []
    texts = table["stimuli"].unique()
    on = dict(table.select("stimuli", "scale").unique().drop_nulls().sort("scale").iter_rows())
    fewest = people.select(pl.sum_horizontal(pl.all().is_not_null())).to_series().min()
    return TrainingSupport(
        len(table),
        values,
        numbers,
        table["scale"].drop_nulls().unique().sort().to_list(),
        [texts.str.len_chars().min() or 0, texts.str.len_chars().max() or 0],  # type: ignore[list-item]
        int(fewest or 0),  # type: ignore[arg-type]
        sorted(map(list, {tuple(ends(text, scale(notation))) for text, notation in on.items()})),
        sorted({word for text in texts for word in tokens(text)}),
    )
