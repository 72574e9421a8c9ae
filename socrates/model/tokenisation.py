"""Survey rows as token ids: every distinct scenario and persona is tokenised once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import ModelError
from socrates.core.files import read_table
from socrates.model.jagged import Ragged, join, offsets_of
from socrates.survey.prompts import Layout, answer_part, persona_expression, persona_part, scenario_part
from socrates.survey.tables import RESPONSES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.int32]
EMPTY: Ids = np.zeros(0, dtype=np.int32)
TEXTS_AT_ONCE = 50_000  # tokenised in one call; what a tokenizer returns takes far more room than the ids
PROBED = 256  # texts that are tokenised both whole and in pieces
CUT = "\0"  # marks the ends of pieces
COLUMNS = ["demographic", "stimuli", "response"]  # of a responses table, all that an encoding reads


@dataclass(frozen=True)
class Encoded:
    """The rows of a responses table as token ids.

    Attributes:
        layout: the order of the parts.
        scenarios, personas: ids of each distinct text.
        answers: ids of each distinct answer, the end token included.
        scenario_of_row, persona_of_row, answer_of_row: indices into them, ``[rows]``.
    """

    layout: Layout
    scenarios: Ragged
    personas: Ragged
    answers: Ragged
    scenario_of_row: NDArray[np.int64]
    persona_of_row: NDArray[np.int64]
    answer_of_row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scenario_of_row)

    def shared(self, row: int) -> Ids:
        """What the row has in common with others who read its scenario (empty for persona_first)."""
        return self.scenarios[self.scenario_of_row[row]] if self.layout == "scenario_first" else EMPTY

    def own(self, row: int) -> Ids:
        """The rest of the row's prompt."""
        persona = self.personas[self.persona_of_row[row]]
        if self.layout == "scenario_first":
            return persona
        return np.concatenate([persona, self.scenarios[self.scenario_of_row[row]]])

    def answer(self, row: int) -> Ids:
        """The row's answer and end token."""
        return self.answers[self.answer_of_row[row]]

    def prompts(self, rows: NDArray[np.int64]) -> Ragged:
        """The whole prompts of some rows, one after another."""
        scenarios = self.scenarios.take(self.scenario_of_row[rows])
        personas = self.personas.take(self.persona_of_row[rows])
        return join([scenarios, personas] if self.layout == "scenario_first" else [personas, scenarios])

    def shared_lengths(self) -> NDArray[np.int64]:
        """Tokens of each row's :meth:`shared`, ``[rows]``."""
        lengths = self.scenarios.lengths[self.scenario_of_row]
        return lengths if self.layout == "scenario_first" else np.zeros_like(lengths)

    def own_lengths(self) -> NDArray[np.int64]:
        """Tokens of each row's :meth:`own`, ``[rows]``."""
        return self.lengths() - self.shared_lengths() - self.answers.lengths[self.answer_of_row]

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, prompt and answer, ``[rows]``."""
        return (
            self.scenarios.lengths[self.scenario_of_row]
            + self.personas.lengths[self.persona_of_row]
            + self.answers.lengths[self.answer_of_row]
        )

    def take(self, rows: NDArray[np.int64]) -> Encoded:
        """Some of the rows; the texts stay, even those that no row has any more."""
        return replace(
            self,
            scenario_of_row=self.scenario_of_row[rows],
            persona_of_row=self.persona_of_row[rows],
            answer_of_row=self.answer_of_row[rows],
        )


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that ends an answer.

    Raises:
        ModelError: the tokenizer has none; without it a model is never taught to stop.
    """
    token = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise ModelError(f"{tokenizer.name_or_path}: tokenizer has no end token; set eos_token in its config")
    return token


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Ragged:
    """Ids of each text, without special tokens.

    Texts that come in thousands repeat each other's sentences and fields. These pieces are tokenised
    once each and joined, where a tokenizer splits between them anyway: Qwen's, Llama 3's and every other
    whose pre-tokenizer descends from GPT-2's begins a new word at a space and a letter after
    punctuation. Whether this one does is tried on :data:`PROBED` of the texts.
    """
    column = pl.Series(texts, dtype=pl.String)
    probe = column.gather_every(max(len(column) // PROBED, 1))
    apart = len(column) > 2 * PROBED and not column.str.contains(CUT, literal=True).any()
    if apart:
        whole, joined = _token_ids(tokenizer, probe), _joined_ids(tokenizer, probe)
        apart = np.array_equal(whole.values, joined.values) and np.array_equal(whole.offsets, joined.offsets)
    ids = _joined_ids if apart else _token_ids
    parts = [ids(tokenizer, part.to_series()) for part in column.to_frame().iter_slices(TEXTS_AT_ONCE)]
    return Ragged.concatenate(parts, np.int32)


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: pl.Series) -> Ragged:
    ids = tokenizer(texts.to_list(), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return Ragged.of(ids, np.int32)


def _joined_ids(tokenizer: PreTrainedTokenizerBase, texts: pl.Series) -> Ragged:
    """The ids of texts from those of their distinct pieces."""
    pieces = texts.str.replace_all(r"([.;?!])( [A-Za-z])", f"${{1}}{CUT}${{2}}").str.split(CUT)
    distinct, index = _distinct(pieces.explode())
    ids = _token_ids(tokenizer, distinct).take(index)
    return Ragged(ids.values, ids.offsets[offsets_of(pieces.list.len().to_numpy())])


def encode(table: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, layout: Layout) -> Encoded:
    """Token ids of all rows of a responses table (see ``survey.tables.RESPONSES``)."""
    return encode_parts([table], tokenizer, layout)


def encode_parts(
    tables: Iterable[pl.DataFrame], tokenizer: PreTrainedTokenizerBase, layout: Layout
) -> Encoded:
    """Token ids of the rows of several tables with :data:`COLUMNS`, one table after another.

    A column ``persona`` with the text itself takes the place of ``demographic``.

    A table is let go when the next is asked for: memory is that of the distinct texts and three
    numbers a row.
    """
    end = np.full(1, end_token(tokenizer), dtype=np.int32)
    stimuli, personas, responses = _Distinct(), _Distinct(), _Distinct()
    for table in tables:
        stimuli.add(*_distinct(table["stimuli"]))
        given = "persona" in table.columns
        personas.add(*(_distinct(table["persona"]) if given else _distinct_personas(table["demographic"])))
        responses.add(*_distinct(table["response"]))
    scenario_texts, scenario_of_row = stimuli.finish()
    persona_texts, persona_of_row = personas.finish()
    answers, answer_of_row = responses.finish()
    answer_ids = token_ids(tokenizer, [answer_part(answer) for answer in answers])
    return Encoded(
        layout,
        token_ids(tokenizer, [scenario_part(text, layout) for text in scenario_texts]),
        token_ids(tokenizer, [persona_part(text, layout) for text in persona_texts]),
        join([answer_ids, Ragged.of([end] * len(answer_ids), np.int32)]),
        scenario_of_row,
        persona_of_row,
        answer_of_row,
    )


def parts_of(path: Path) -> Iterator[pl.DataFrame]:
    """The :data:`COLUMNS` of a responses file, one row group at a time."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    start = 0
    for group in range(metadata.num_row_groups):
        end = start + metadata.row_group(group).num_rows
        yield read_table(path, {name: RESPONSES[name] for name in COLUMNS}, slice(start, end))
        start = end


class _Distinct:
    """Collects the distinct values of a column that comes in parts, in order of first appearance."""

    def __init__(self) -> None:
        self._values: list[pl.Series] = []
        self._index: list[NDArray[np.int64]] = []
        self._count = 0

    def add(self, values: pl.Series, index: NDArray[np.int64]) -> None:
        """The distinct values of one part, and each of its rows' index among them."""
        self._values.append(values)
        self._index.append(index + self._count)
        self._count += len(values)

    def finish(self) -> tuple[list, NDArray[np.int64]]:
        """The distinct values of all parts, and each row's index among them, ``[rows]``."""
        if not self._values:
            return [], np.zeros(0, dtype=np.int64)
        values, place = _distinct(pl.concat(self._values))
        return values.to_list(), place[np.concatenate(self._index)]


def _distinct(column: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Distinct values in order of first appearance, and each row's index among them."""
    frame = pl.DataFrame({"value": column})
    distinct = frame.unique(maintain_order=True).with_row_index("index")
    index = frame.join(distinct, on="value", how="left", maintain_order="left")["index"]
    return distinct["value"], index.cast(pl.Int64).to_numpy()


def _distinct_personas(demographic: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """:func:`_distinct` of the personas' texts, which are written for distinct respondents only.

    The fields are compared as the codes of their few values.
    """
    codes = demographic.struct.unnest().select(pl.all().cast(pl.Categorical).to_physical())
    fields = codes.columns
    people = codes.with_row_index("row")
    people = people.unique(subset=fields, keep="first", maintain_order=True).with_row_index("index")
    index = codes.join(people, on=fields, how="left", maintain_order="left", nulls_equal=True)["index"]
    texts = demographic[people["row"]].to_frame("demographic").select(persona_expression())["persona"]
    distinct, place = _distinct(texts)
    return distinct, place[index.to_numpy()]


def stems(data: Encoded, rows: Sequence[int] | NDArray[np.int64]) -> tuple[list[Ids], list[int]]:
    """The distinct shared parts of some rows, and the index of each row's among them."""
    if data.layout == "persona_first":
        return [EMPTY], [0] * len(rows)
    place: dict[int, int] = {}
    index = [place.setdefault(int(data.scenario_of_row[row]), len(place)) for row in rows]
    return [data.scenarios[scenario] for scenario in place], index
