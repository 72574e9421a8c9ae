"""Which model is asked, whether its parts belong together, and what its training had seen: a field, a scale or
words that no training study had are a use that nobody has measured, and are answered with a warning."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import polars as pl

from socrates.app.parse import Persona, Question, short
from socrates.core.errors import ModelError
from socrates.core.files import read_json, read_table, sha256
from socrates.core.params import PATH, load
from socrates.data.params import Data
from socrates.data.scales.instructions import READ
from socrates.model.params import Prompt
from socrates.survey.scales import Scale, scale
from socrates.survey.tables import DEMOGRAPHICS, SCALED_RESPONSES

BASE, ADAPTER = Path("models/base"), "models/adapter"
TRAINING_TABLE = Path("data/splits/train.parquet")
NOT_AT_HAND = "what training had seen is not at hand: nothing was compared with its range"
MADE_WORLD = "The model learned from a made world (data.source synthetic): nothing here is about people."
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


@dataclass(frozen=True)
class ModelRef:
    """The files of a model that can be asked: a base folder (or a model that was saved whole), an adapter of it or
    None, the table that it was trained on if that is available, and how its prompts are laid out. ``notes`` say that it
    learned from no people, and what could not be checked."""

    base: Path
    adapter: Path | None
    training_table: Path | None
    prompt: Prompt
    name: str
    notes: tuple[str, ...] = ()

    def base_only(self) -> Self:
        """The base without the adapter, prompted as the adapter is."""
        return replace(self, adapter=None, name=str(self.base))

    @cached_property
    def support(self) -> TrainingSupport | None:
        """What training had seen; None where its table is not available. Raises :class:`DataError`."""
        table = self.training_table
        return summarise(read_table(table, SCALED_RESPONSES)) if table else None

    def outside(self, persona: Persona, question: Question) -> list[str]:
        """What of a person asked a question lies outside the training range; nothing where that is not at hand."""
        seen = self.support
        return [*seen.of_persona(persona), *seen.of_question(question)] if seen else []

    @property
    def cautions(self) -> list[str]:
        return [*self.notes, *(self.support.cautions if self.support else [NOT_AT_HAND])]


def resolve_model(base: Path = BASE, adapter: str | None = ADAPTER) -> ModelRef:
    """The model of a base folder and its adapter's (None: the base alone). Raises :class:`ModelError` where a folder is
    missing, or the adapter was trained on another base."""
    own = adapter in (ADAPTER, None) and PATH.exists()
    notes = [MADE_WORLD] if own and load(Data).source == "synthetic" else []
    folder = Path(adapter) if adapter else None
    if not base.is_dir():
        raise ModelError(f"{base}: no such folder; run dvc repro, or dvc pull")
    trained = (folder or base) / "training.json"
    record = read_json(trained, "fetch or train the adapter again", ModelError) if trained.exists() else {}
    if folder is not None:
        if not (folder / "adapter_config.json").exists():
            wrong = "has no adapter_config.json" if folder.is_dir() else "no such folder"
            raise ModelError(f"{folder}: {wrong}; run dvc repro, or dvc pull (of the hub: hf download)")
        manifest = base / "manifest.json"
        if not manifest.exists():
            notes.append(f"{base} has no manifest.json: whether {folder} belongs to it was not checked")
        elif "base" not in record:
            notes.append(f"{folder} does not record its base: whether it is {base} was not checked")
        elif record["base"] != (here := sha256(manifest)):
            hashes = f"(hash {str(record['base'])[:12]}; {base} is {here[:12]})"
            advice = "give the base it belongs to, or train again (dvc repro)"
            raise ModelError(f"{folder}: trained on another base model {hashes}; {advice}")
    if "prompt" in record.get("params", {}):
        prompt = Prompt.model_validate(record["params"]["prompt"])
    else:
        prompt = load(Prompt) if PATH.exists() else Prompt(layout="scenario_first", max_length=512)
    table = TRAINING_TABLE if TRAINING_TABLE.exists() else None
    name = f"{adapter} on {base}" if adapter else str(base)
    return ModelRef(base, folder, table, prompt, name, tuple(notes))
