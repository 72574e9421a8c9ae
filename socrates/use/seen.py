"""What training had seen, so that a question from outside is answered with a warning.

The model was tested on studies like those it learned from. A field, a scale or a length that none of
them had is a use that nobody has measured.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from socrates.files import write_json
from socrates.fingerprint import scratch
from socrates.survey.resolution import resolve_scales
from socrates.survey.scales import Scale, scale
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES, read_table
from socrates.use.questions import Persona

MANY_VALUES = 40  # a field with more distinct values is free text or a number: its values are not checked


@dataclass(frozen=True)
class Seen:
    """The range of a training table.

    Attributes:
        rows: its length.
        values: the answers to each demographic field that was asked, sorted; of fields with more than
            ``MANY_VALUES`` none.
        numbers: the lowest and highest of fields whose answers are whole numbers.
        scales: the notations of its questions, sorted.
        characters: length of its shortest and longest scenario.
    """

    rows: int
    values: dict[str, list[str]]
    numbers: dict[str, list[int]]
    scales: list[str]
    characters: list[int]

    def of_persona(self, persona: Persona) -> list[str]:
        """What of a persona training had not seen, a sentence each."""
        found = [f"{label}: not a field of the training data" for label in persona.unknown]
        for field, value in persona.fields.items():
            label = DEMOGRAPHICS[field]
            if field not in self.values:
                found.append(f"{label}: no training respondent was asked")
            elif field in self.numbers and value.isdecimal():
                low, high = self.numbers[field]
                if not low <= int(value) <= high:
                    found.append(f"{label}: {value} is outside the training data's {low} to {high}")
            elif self.values[field] and value not in self.values[field]:
                known = ", ".join(self.values[field][:8]) + (", ..." if len(self.values[field]) > 8 else "")
                found.append(
                    f"{label}: no training respondent answered {value[:60]!r} (they answered {known})"
                )
        return found

    def of_question(self, stimuli: str, on: Scale) -> list[str]:
        """What of a question lies outside the training range, a sentence each."""
        found = []
        if on.notation not in self.scales:
            lengths = sorted(len(scale(notation).options) for notation in self.scales)
            known = ", ".join(self.scales[:8]) + (", ..." if len(self.scales) > 8 else "")
            if lengths and not lengths[0] <= len(on.options) <= lengths[-1]:
                found.append(
                    f"scale {on.notation}: {len(on.options):,} answers; training questions had {lengths[0]:,} "
                    f"to {lengths[-1]:,}"
                )
            else:
                found.append(f"scale {on.notation}: no training question had it (they had {known})")
        low, high = self.characters
        if not low <= len(stimuli) <= high:
            found.append(f"scenario: {len(stimuli):,} characters; training scenarios had {low:,} to {high:,}")
        return found


def seen(training_table: Path) -> Seen:
    """The range of a training table; kept beside the checkpoints, since a large one takes a while to read.

    Raises:
        DataError: the file is not a responses table.
    """
    state = training_table.stat()
    key = f"{training_table.resolve()} {state.st_size} {state.st_mtime_ns}"
    kept = scratch() / "seen" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    try:
        return Seen(**json.loads(kept.read_text()))
    except (OSError, ValueError, TypeError):
        found = summarise(read_table(training_table, RESPONSES))
        write_json(kept, asdict(found))
        return found


def summarise(table: pl.DataFrame) -> Seen:
    """The range of a responses table."""
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
    ends = table.group_by("study_id", "task_num", "stimuli").agg(
        pl.col("response").min(), high=pl.col("response").max()
    )
    questions = pl.concat([ends.drop("high"), ends.drop("response").rename({"high": "response"})])
    scales = resolve_scales(questions, questions)["scale"].drop_nulls().unique().sort()
    lengths = table["stimuli"].unique().str.len_chars()
    return Seen(len(table), values, numbers, scales.to_list(), [lengths.min() or 0, lengths.max() or 0])  # type: ignore[list-item]
