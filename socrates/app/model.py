"""Ask a model: a table of questions in, a distribution over each question's scale out.

::

    model = open_model(locate())
    answers = model.ask(questions)          # QUESTIONS plus probabilities and allowed_mass

Respondents of one scenario share its computation, as in training, so the order of rows does not matter
and many rows at once are much faster than one after another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.app.answers import Answer
from socrates.app.locate import Located
from socrates.app.parse import QUESTIONS, quoted
from socrates.app.precision import load_for_use, tokenizer_for_use
from socrates.core.errors import DataError, ModelError
from socrates.core.files import Schema, read_json, sha256, write_json, write_table
from socrates.model.tokenisation import Encoded, encode
from socrates.prediction.distributions import distributions
from socrates.survey.scales import scale

# What ask() adds: probabilities of the scale's options in ascending order, given that the answer is one
# of them, and what the model put on them in all (its format validity).
ANSWERS: Schema = {"probabilities": pl.List(pl.Float32), "allowed_mass": pl.Float32}
# Packed tokens of one pass. A CPU computes a quarter faster when a pass stays near its caches.
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 16384}
ROWS_PER_PART = 2000  # what a killed batch has to do again at most
Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to be asked.

    Attributes:
        located: its files.
        tokenizer: of its base.
        place: device and precision, for a person to read.
    """

    located: Located
    tokenizer: Any
    model: Any
    place: str

    def __str__(self) -> str:
        return f"{self.located.name}, {self.place}"

    @property
    def max_tokens(self) -> int:
        """The longest prompt and answer it reads."""
        return int(self.model.config.max_position_embeddings)

    def ask(self, questions: pl.DataFrame, progress: Progress = iter) -> pl.DataFrame:
        """``questions`` with the columns of ``ANSWERS``.

        Args:
            questions: rows with the columns of ``QUESTIONS``; further columns are carried along.

        Raises:
            ModelError: a row is longer than the model reads; see :meth:`too_long`.
        """
        data = self._encoded(questions)
        lengths = data.lengths()
        if (lengths > self.max_tokens).any():
            row = int(lengths.argmax())
            raise ModelError(
                f"scenario {quoted(questions['stimuli'][row])}: {lengths[row]:,} tokens with its persona; "
                f"the model reads {self.max_tokens:,}: shorten the scenario"
            )
        tokens = TOKENS_PER_BATCH[self.model.device.type]
        probabilities, mass = distributions(
            self.model, self.tokenizer, data, questions["scale"].to_list(), tokens, progress
        )
        return questions.with_columns(
            # cast: polars makes an array column of rows of one length, whatever type it is told
            probabilities=pl.Series(list(probabilities), dtype=ANSWERS["probabilities"]).cast(
                ANSWERS["probabilities"]
            ),
            allowed_mass=pl.Series(mass, dtype=pl.Float32),
        )

    def too_long(self, questions: pl.DataFrame) -> pl.Series:
        """Whether each row is longer than the model reads: booleans."""
        return pl.Series(self._encoded(questions).lengths() > self.max_tokens, dtype=pl.Boolean)

    def _encoded(self, questions: pl.DataFrame) -> Encoded:
        high = pl.col("scale").map_elements(lambda notation: scale(notation).high, return_dtype=pl.Int64)
        rows = questions.select("stimuli", "persona", response=high)  # the answer only counts for the length
        return encode(rows, self.tokenizer, self.located.prompt.layout)


def open_model(located: Located, precision: str = "auto") -> OpenModel:
    """Load a model for answering.

    Args:
        precision: ``auto`` (by device and free memory), bfloat16, nf4, int8 or float32.

    Raises:
        ModelError: the files are damaged, or the memory is too small.
    """
    model, place = load_for_use(located.base, located.adapter, precision)
    return OpenModel(located, tokenizer_for_use(located.base), model, str(place))


def answers_of(answered: pl.DataFrame) -> list[Answer]:
    """The rows that :meth:`OpenModel.ask` returned, as answers."""
    return [
        Answer(scale(notation), np.asarray(probabilities, dtype=np.float64), float(mass))
        for notation, probabilities, mass in answered.select("scale", *ANSWERS).iter_rows()
    ]


def ask_in_parts(
    model: OpenModel, questions: pl.DataFrame, folder: Path, progress: Progress = iter
) -> tuple[pl.DataFrame, int]:
    """:meth:`OpenModel.ask` for many rows, in parts that outlive a kill.

    Each part is written to ``folder`` when it is done; the same call made again reads it. The caller
    removes the folder when the answers are safe. Rows of one scenario stay together.

    Args:
        questions: rows with the columns of ``QUESTIONS``, none too long.
        progress: wraps the parts.

    Returns:
        The rows in their order with the columns of ``ANSWERS``, and how many were there already.

    Raises:
        DataError: the folder holds parts of other questions or of another model.
    """
    facts = {"model": identity(model), "questions": _fingerprint(questions)}
    record = folder / "parts.json"
    if record.exists():
        if read_json(record, f"delete {folder} to begin anew") != facts:
            raise DataError(
                f"{folder}: holds parts of another run (other rows or model); delete it to begin anew"
            )
    else:
        write_json(record, facts)
    order = questions.with_row_index("row").sort("scale", "stimuli", "row")
    resumed, done = 0, []
    for start in progress(range(0, len(order), ROWS_PER_PART)):
        path = folder / f"part-{start // ROWS_PER_PART:05d}.parquet"
        if path.exists():
            part = pl.read_parquet(path)
            resumed += len(part)
        else:
            part = model.ask(order[start : start + ROWS_PER_PART]).select("row", *ANSWERS)
            write_table(path, part)
        done.append(part)
    answered = pl.concat(done) if done else pl.DataFrame(schema={"row": pl.UInt32, **ANSWERS})
    return questions.hstack(answered.sort("row").drop("row")), resumed


def identity(model: OpenModel) -> dict[str, str]:
    """What shapes a model's answers, as hashes and names."""
    located = model.located
    files = [located.base / "manifest.json", located.base / "config.json"]
    if located.adapter is not None:
        files += sorted(located.adapter.glob("adapter_model.safetensors"))
    return {path.name: sha256(path) for path in files if path.exists()} | {
        "place": model.place,
        "layout": located.prompt.layout,
    }


def _fingerprint(questions: pl.DataFrame) -> str:
    text = questions.select(*QUESTIONS).write_json()
    return hashlib.sha256(text.encode()).hexdigest()
