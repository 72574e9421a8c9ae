"""Ask a model: a table of questions in, a distribution over each question's scale out.

::

    model = open_model(locate())
    answers = model.ask(questions)          # QUESTIONS plus probabilities and allowed_mass

Respondents of one scenario share its computation, as in training, so the order of rows does not matter
and many rows at once are much faster than one after another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.app.answers import Answer
from socrates.app.locate import Located
from socrates.app.parse import QUESTIONS, quoted
from socrates.app.precision import load_for_use, tokenizer_for_use
from socrates.core.errors import DataError, ModelError
from socrates.core.files import read_json, sha256, write_json, write_table
from socrates.model.tokenisation import Encoded, encode
from socrates.prediction.distributions import distributions
from socrates.survey.scales import scale
from socrates.survey.tables import Schema

# What ask() adds: probabilities of the scale's options in ascending order, given that the answer is one
# of them, and what the model put on them in all (its format validity).
ANSWERS: Schema = {"probabilities": pl.List(pl.Float32), "allowed_mass": pl.Float32}
# Packed tokens of one pass. A CPU computes a quarter faster when a pass stays near its caches.
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 16384}
ROWS_PER_PART = 2000  # what a killed batch has to do again at most
Progress = Callable[[Iterable[Any]], Iterable[Any]]


class Backend(Protocol):
    """What computes answers: a packed forward pass here, or a sampling server.

    Attributes:
        place: device and precision, for a person to read.
        max_tokens: the longest prompt and answer it reads.
    """

    place: str
    max_tokens: int

    def distributions(
        self, data: Encoded, scales: list[str], progress: Progress
    ) -> tuple[Sequence[NDArray[np.float32]], NDArray[np.float32]]:
        """Probabilities of each row's options, and their total mass ``[rows]``."""


class Forward:
    """The exact distribution by ``prediction.distributions``, in this process."""

    def __init__(self, located: Located, tokenizer: Any, precision: str) -> None:
        self.model: Any
        self.model, place = load_for_use(located.base, located.adapter, precision)
        self.tokenizer = tokenizer
        self.place = str(place)
        self.tokens_per_batch = TOKENS_PER_BATCH[place.device.type]
        self.max_tokens = int(self.model.config.max_position_embeddings)

    def distributions(
        self, data: Encoded, scales: list[str], progress: Progress
    ) -> tuple[Sequence[NDArray[np.float32]], NDArray[np.float32]]:
        """See :class:`Backend`."""
        return distributions(self.model, self.tokenizer, data, scales, self.tokens_per_batch, progress)


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to be asked.

    Attributes:
        located: its files.
        tokenizer: of its base.
        backend: what computes.
    """

    located: Located
    tokenizer: Any
    backend: Backend

    def __str__(self) -> str:
        return f"{self.located.name}, {self.backend.place}"

    def ask(self, questions: pl.DataFrame, progress: Progress = iter) -> pl.DataFrame:
        """``questions`` with the columns of ``ANSWERS``.

        Args:
            questions: rows with the columns of ``QUESTIONS``; further columns are carried along.

        Raises:
            ModelError: a row is longer than the model reads; see :meth:`too_long`.
        """
        data = self._encoded(questions)
        lengths = data.lengths()
        if (lengths > self.backend.max_tokens).any():
            row = int(lengths.argmax())
            raise ModelError(
                f"scenario {quoted(questions['stimuli'][row])}: {lengths[row]:,} tokens with its persona; "
                f"the model reads {self.backend.max_tokens:,}: shorten the scenario"
            )
        probabilities, mass = self.backend.distributions(data, questions["scale"].to_list(), progress)
        return questions.with_columns(
            # cast: polars makes an array column of rows of one length, whatever type it is told
            probabilities=pl.Series(list(probabilities), dtype=ANSWERS["probabilities"]).cast(
                ANSWERS["probabilities"]
            ),
            allowed_mass=pl.Series(mass, dtype=pl.Float32),
        )

    def too_long(self, questions: pl.DataFrame) -> pl.Series:
        """Whether each row is longer than the model reads: booleans."""
        return pl.Series(self._encoded(questions).lengths() > self.backend.max_tokens, dtype=pl.Boolean)

    def _encoded(self, questions: pl.DataFrame) -> Encoded:
        high = pl.col("scale").map_elements(lambda notation: scale(notation).high, return_dtype=pl.Int64)
        rows = questions.select("stimuli", "persona", response=high)  # the answer only counts for the length
        return encode(rows, self.tokenizer, self.located.prompt.layout)


def open_model(located: Located, precision: str = "auto", backend: str = "torch") -> OpenModel:
    """Load a model for answering.

    Args:
        precision: ``auto`` (by device and free memory), bfloat16, nf4, int8 or float32.
        backend: ``torch``, or ``vllm`` for large sampled runs on a GPU.

    Raises:
        ModelError: the files are damaged, the memory too small, the backend not installed.
    """
    tokenizer = tokenizer_for_use(located.base)
    if backend == "torch":
        return OpenModel(located, tokenizer, Forward(located, tokenizer, precision))
    if backend == "vllm":
        from socrates.app.sampled import Sampled

        return OpenModel(located, tokenizer, Sampled(located, tokenizer))
    raise ModelError(f"backend {backend!r}: expected torch or vllm")


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
        "place": model.backend.place,
        "layout": located.prompt.layout,
    }


def _fingerprint(questions: pl.DataFrame) -> str:
    text = questions.select(*QUESTIONS).write_json()
    return hashlib.sha256(text.encode()).hexdigest()
