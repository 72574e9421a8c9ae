"""Survey rows as token ids: every distinct scenario and persona is tokenised once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import ModelError
from socrates.core.files import read_table
from socrates.model.jagged import JaggedArray, concatenate_elementwise
from socrates.model.tokenisation import Ids, dictionary_encode, end_token, token_ids
from socrates.survey.prompts import (
    Format,
    Layout,
    Messages,
    Template,
    answer_part,
    persona_expression,
    template,
)
from socrates.survey.tables import RESPONSES

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

EMPTY: Ids = np.zeros(0, dtype=np.int32)
MARK = "\ue002"  # an answer, while a chat template is looked at
COLUMNS = ["demographic", "stimuli", "response"]  # of a responses table, all that an encoding reads
# Of chat templates: a thinking model answers at once, and a prompt does not change with the day.
CHAT: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}


@dataclass(frozen=True)
class Encoded:
    """The rows of a responses table as token ids.

    A row is prefix, suffix and answer. Its prefix is the scenario, or nothing where the persona comes first.

    Attributes:
        layout: the order of the parts.
        scenarios, personas: ids of each distinct text.
        answers: ids of each distinct answer, the end token included.
        scenario_of_row, persona_of_row, answer_of_row: indices into them, ``[rows]``.
    """

    layout: Layout
    scenarios: JaggedArray
    personas: JaggedArray
    answers: JaggedArray
    scenario_of_row: NDArray[np.int64]
    persona_of_row: NDArray[np.int64]
    answer_of_row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scenario_of_row)

    def prefix_ids(self, row: int) -> Ids:
        """What the row has in common with others who read its scenario (empty for persona_first)."""
        return self.scenarios[self.scenario_of_row[row]] if self.layout == "scenario_first" else EMPTY

    def suffix_ids(self, row: int) -> Ids:
        """The rest of the row's prompt."""
        persona = self.personas[self.persona_of_row[row]]
        if self.layout == "scenario_first":
            return persona
        return np.concatenate([persona, self.scenarios[self.scenario_of_row[row]]])

    def answer_ids(self, row: int) -> Ids:
        """The row's answer and end token."""
        return self.answers[self.answer_of_row[row]]

    def distinct_prefixes(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[list[Ids], list[int]]:
        """The distinct prefixes of some rows, and the index of each row's among them."""
        if self.layout == "persona_first":
            return [EMPTY], [0] * len(rows)
        index: dict[int, int] = {}
        prefix_index = [index.setdefault(int(self.scenario_of_row[row]), len(index)) for row in rows]
        return [self.scenarios[scenario] for scenario in index], prefix_index

    def prefix_lengths(self) -> NDArray[np.int64]:
        """Tokens of each row's :meth:`prefix_ids`, ``[rows]``."""
        lengths = self.scenarios.lengths[self.scenario_of_row]
        return lengths if self.layout == "scenario_first" else np.zeros_like(lengths)

    def suffix_lengths(self) -> NDArray[np.int64]:
        """Tokens of each row's :meth:`suffix_ids`, ``[rows]``."""
        return self.lengths() - self.prefix_lengths() - self.answers.lengths[self.answer_of_row]

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


def encode(
    table: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, layout: Layout, form: Format = "survey"
) -> Encoded:
    """Token ids of all rows of a responses table (see ``survey.tables.RESPONSES``)."""
    return encode_tables([table], tokenizer, layout, form)


def prompt_template(tokenizer: PreTrainedTokenizerBase, layout: Layout, form: Format) -> Template:
    """The template of a prompt format, messages written by the tokenizer's own chat template.

    Raises:
        ModelError: it has none, or one that ends an answer with another token than the tokenizer's end token.
    """

    def render(messages: Messages) -> str:
        def written(messages: Messages, begun: bool) -> str:
            return str(
                tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=begun, **CHAT)
            )

        if not tokenizer.chat_template:
            raise ModelError(f"{tokenizer.name_or_path}: no chat template; use prompt.format survey")
        end = written([*messages, {"role": "assistant", "content": MARK}], False).rpartition(MARK)[2]
        if not end.strip().startswith(str(tokenizer.eos_token)):
            raise ModelError(
                f"{tokenizer.name_or_path}: its chat template ends an answer with {end.strip()!r}, the tokenizer "
                f"with {tokenizer.eos_token}; an instruct model is needed, or prompt.format survey"
            )
        return written(messages, True)

    return template(layout, form, render)


def encode_tables(
    tables: Iterable[pl.DataFrame],
    tokenizer: PreTrainedTokenizerBase,
    layout: Layout,
    form: Format = "survey",
) -> Encoded:
    """Token ids of the rows of several tables with :data:`COLUMNS`, one table after another.

    A column ``persona`` with the text itself takes the place of ``demographic``.

    A table is let go when the next is asked for: memory is that of the distinct texts and three
    numbers a row.
    """
    chunks: tuple[list[pa.DictionaryArray], ...] = ([], [], [])
    for table in tables:
        chunks[0].append(dictionary_encode(table["stimuli"]))
        chunks[1].append(_encode_personas(table))
        chunks[2].append(dictionary_encode(table["response"]))
    (scenarios, scenario_of_row), (personas, persona_of_row), (answers, answer_of_row) = map(_unify, chunks)
    words = prompt_template(tokenizer, layout, form)
    ids = token_ids(tokenizer, [answer_part(answer) for answer in answers])
    ends = JaggedArray.from_sequences([[end_token(tokenizer)]] * len(ids), np.int32)
    return Encoded(
        layout,
        token_ids(tokenizer, [words.scenario_part(text) for text in scenarios]),
        token_ids(tokenizer, [words.persona_part(text) for text in personas]),
        concatenate_elementwise([ids, ends]),
        scenario_of_row,
        persona_of_row,
        answer_of_row,
    )


def read_row_groups(path: Path) -> Iterator[pl.DataFrame]:
    """The :data:`COLUMNS` of a responses file, one row group at a time."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    start = 0
    for group in range(metadata.num_row_groups):
        end = start + metadata.row_group(group).num_rows
        yield read_table(path, {name: RESPONSES[name] for name in COLUMNS}, slice(start, end))
        start = end


def _encode_personas(table: pl.DataFrame) -> pa.DictionaryArray:
    """The personas' texts, each written once for all rows whose fields are equal.

    The fields are compared as the codes of their few values.
    """
    if "persona" in table.columns:
        return dictionary_encode(table["persona"])
    codes = table["demographic"].struct.unnest().select(pl.all().cast(pl.Categorical).to_physical())
    fields = codes.columns
    people = codes.with_row_index("row")
    people = people.unique(subset=fields, keep="first", maintain_order=True).with_row_index("index")
    index = codes.join(people, on=fields, how="left", maintain_order="left", nulls_equal=True)["index"]
    texts = table[people["row"], ["demographic"]].select(persona_expression())["persona"]
    return dictionary_encode(texts).take(index.to_arrow())


def _unify(chunks: list[pa.DictionaryArray]) -> tuple[list, NDArray[np.int64]]:
    """The distinct values of all chunks, in order of first appearance, and each row's index among them."""
    import pyarrow as pa

    if not chunks:
        return [], np.zeros(0, dtype=np.int64)
    column = pa.chunked_array(chunks).unify_dictionaries().combine_chunks()
    return column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64)
