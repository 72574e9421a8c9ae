"""What training had seen, so that a question from outside is answered with a warning: a field, a scale or words that no
training study had are a use that nobody has measured."""

import re
from dataclasses import dataclass

import polars as pl

from socrates.app.parse import Persona, Question, short
from socrates.data.scales.instructions import READ
from socrates.survey.scales import Scale, scale
from socrates.survey.tables import DEMOGRAPHICS

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
    """The range of a training table of so many rows."""

    rows: int
    values: dict[str, list[str]]  # answers to each field that was asked, sorted; none where over MANY_VALUES
    numbers: dict[str, tuple[int, int]]  # the lowest and highest of fields whose answers are whole numbers
    scales: list[str]  # notations, sorted
    labels: set[tuple[str, str]]  # what the lowest and the highest answer stand for, see ends()
    words: set[str]

    @property
    def cautions(self) -> list[str]:
        """That the model learned from few answers, if it did."""
        few = f"The model learned from {self.rows:,} answers, too few to say anything of people."
        return [few] if self.rows < FEW_ROWS else []

    def outside(self, persona: Persona, question: Question) -> list[str]:
        return self.of_persona(persona) + self.of_question(question)

    def of_persona(self, persona: Persona) -> list[str]:
        """What of a persona training had not seen, a sentence each."""
        found = [f"{label}: not a field of the training data" for label in persona.unknown]
        for field, value in persona.fields.items():
            label, known = DEMOGRAPHICS[field], self.values.get(field)
            if known is None:
                found.append(f"{label}: no training respondent was asked")
            elif field in self.numbers:
                low, high = self.numbers[field]
                number = int(value) if value.isdecimal() and len(value) < 20 else None
                if number is None or not low <= number <= high:
                    found.append(f"{label}: {value[:60]} is outside the training data's {low} to {high}")
            elif known and value not in known:
                answered = f"{value[:60]!r} (they answered {_first(known, 8)})"
                found.append(f"{label}: no training respondent answered {answered}")
        return found

    def of_question(self, question: Question) -> list[str]:
        """What of a question lies outside the training range, a sentence each."""
        on, given = question.scale, ends(question.stimuli, question.scale)
        found = []
        if on.notation not in self.scales:
            had = _first(self.scales, 8)
            found.append(f"scale {short(on)}: no training question had it (they had {had})")
        if given not in self.labels and not any(given):
            told = f"the text does not say what {on.low} and {on.high} stand for"
            found.append(f"answers: {told}; training questions did")
        elif given not in self.labels:
            low, high = (f"{label[:60]!r}" if label else "nothing" for label in given)
            had = "no training question had these ends"
            if given[::-1] in self.labels:
                had = "training questions had it the other way round only"
            found.append(f"answers: {on.low} for {low} and {on.high} for {high}; {had}")
        new = sorted((words := tokens(question.stimuli)) - self.words)
        if len(new) > NEW_WORDS * len(words):
            named = _first(new, LISTED)
            found.append(f"words: {len(new)} of {len(words)} are in no training scenario ({named})")
        return found


def _first(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def tokens(text: str) -> set[str]:
    """The words of a text, in lower case, without numbers."""
    return set(re.findall(r"[^\W\d_]+", text.lower()))


def ends(stimuli: str, on: Scale) -> tuple[str, str]:
    """What the text says that the lowest and the highest answer stand for, in lower case; "" for nothing."""
    found = {}
    for answer, *words in LABEL.findall(stimuli[-READ:]):
        found[re.sub("[−–]", "-", answer)] = " ".join("".join(words).split()).casefold()
    return found.get(str(on.low), ""), found.get(str(on.high), "")


def summarise(table: pl.DataFrame) -> TrainingSupport:
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
    on = dict(table.select("stimuli", "scale").unique().drop_nulls().sort("scale").iter_rows())
    labels = {ends(text, scale(notation)) for text, notation in on.items()}
    words = set().union(*map(tokens, table["stimuli"].unique()))
    scales = table["scale"].drop_nulls().unique().sort().to_list()
    return TrainingSupport(len(table), values, numbers, scales, labels, words)
