"""Survey rows as token ids: every distinct scenario and persona is tokenised once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from socrates.core.errors import ModelError
from socrates.core.files import read_table
from socrates.model.jagged import Ints, JaggedArray, offsets_of
from socrates.model.tokenisation import Ids, dictionary_encode, ended_ids, token_ids
from socrates.survey.prompts import Format, Layout, Template, answer_part, persona_expression, template
from socrates.survey.tables import RESPONSES

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase as Tokenizer

EMPTY: Ids = np.zeros(0, dtype=np.int32)
MARK = "\ue002"  # an answer, while a chat template is looked at
COLUMNS = ["demographic", "stimuli", "response"]  # of a responses table, all that an encoding reads
# Of chat templates: a thinking model answers at once, and a prompt does not change with the day.
CHAT: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}


@dataclass(frozen=True)
class Encoded:
    """The rows of a responses table as token ids: prefix (the scenario, or nothing where the persona comes first),
    suffix (the rest of the prompt) and answer."""

    layout: Layout
    scenarios: JaggedArray  # of each distinct text
    personas: JaggedArray
    answers: JaggedArray  # with the end token
    scenario_of_row: Ints  # indices into them, [rows]
    persona_of_row: Ints
    answer_of_row: Ints

    def __len__(self) -> int:
        return len(self.scenario_of_row)

    def prefix_ids(self, row: int) -> Ids:
        """What the row has in common with others who read its scenario."""
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

    def distinct_prefixes(self, rows: Sequence[int] | Ints) -> tuple[list[Ids], list[int]]:
        """The distinct prefixes of some rows, and the index of each row's among them."""
        if self.layout == "persona_first":
            return [EMPTY], [0] * len(rows)
        index: dict[int, int] = {}
        prefix_index = [index.setdefault(int(self.scenario_of_row[row]), len(index)) for row in rows]
        return [self.scenarios[scenario] for scenario in index], prefix_index

    def prefix_lengths(self) -> Ints:
        """Tokens of each row's :meth:`prefix_ids`, ``[rows]``."""
        return self.scenarios.lengths[self.scenario_of_row] * (self.layout == "scenario_first")

    def suffix_lengths(self) -> Ints:
        """Tokens of each row's :meth:`suffix_ids`, ``[rows]``."""
        return self.lengths() - self.prefix_lengths() - self.answers.lengths[self.answer_of_row]

    def lengths(self) -> Ints:
        """Tokens of each row, prompt and answer, ``[rows]``."""
        prompt = self.scenarios.lengths[self.scenario_of_row] + self.personas.lengths[self.persona_of_row]
        return prompt + self.answers.lengths[self.answer_of_row]

    def take(self, rows: Ints) -> Encoded:
        """Some of the rows; the texts stay, even those that no row has any more."""
        names = ("scenario_of_row", "persona_of_row", "answer_of_row")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def prompt_template(tokenizer: Tokenizer, layout: Layout, form: Format) -> Template:
    """The template of a prompt format, messages written by the tokenizer's own chat template."""

    def render(messages: list[dict[str, str]]) -> str:
        if not tokenizer.chat_template:
            raise ModelError(f"{tokenizer.name_or_path}: no chat template; use prompt.format survey")
        written: Any = partial(tokenizer.apply_chat_template, tokenize=False, **CHAT)
        end = str(written([*messages, {"role": "assistant", "content": MARK}])).rpartition(MARK)[2]
        if not end.strip().startswith(str(tokenizer.eos_token)):
            raise ModelError(
                f"{tokenizer.name_or_path}: its chat template ends an answer with {end.strip()!r}, the tokenizer "
                f"with {tokenizer.eos_token}; an instruct model is needed, or prompt.format survey"
            )
        return str(written(messages, add_generation_prompt=True))

    return template(layout, form, render)


def encode(table: pl.DataFrame, tokenizer: Tokenizer, layout: Layout, form: Format = "survey") -> Encoded:
    """:func:`encode_tables` of one table."""
    return encode_tables([table], tokenizer, layout, form)


def encode_tables(
    tables: Iterable[pl.DataFrame], tokenizer: Tokenizer, layout: Layout, form: Format = "survey"
) -> Encoded:
    """Token ids of the rows of several tables with :data:`COLUMNS`; a column ``persona`` with the text itself takes the
    place of ``demographic``. A table is let go when the next is asked for: memory is that of the distinct texts and
    three numbers a row."""
    chunks = [
        (dictionary_encode(table["stimuli"]), _encode_personas(table), dictionary_encode(table["response"]))
        for table in tables
    ]
    parts = map(_unify, zip(*chunks, strict=True)) if chunks else [([], np.zeros(0, dtype=np.int64))] * 3
    (scenarios, scenario_of_row), (personas, persona_of_row), (answers, answer_of_row) = parts
    words = prompt_template(tokenizer, layout, form)
    answer_ids = ended_ids(tokenizer, [answer_part(answer) for answer in answers])
    return Encoded(
        layout,
        token_ids(tokenizer, [words.scenario_part(text) for text in scenarios]),
        token_ids(tokenizer, [words.persona_part(text) for text in personas]),
        JaggedArray.from_sequences(answer_ids, np.int32),
        scenario_of_row,
        persona_of_row,
        answer_of_row,
    )


def read_row_groups(path: Path) -> Iterator[pl.DataFrame]:
    """The :data:`COLUMNS` of a responses file, one row group at a time."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    for start, end in itertools.pairwise(offsets_of(sizes).tolist()):
        yield read_table(path, {name: RESPONSES[name] for name in COLUMNS}, slice(start, end))


def _encode_personas(table: pl.DataFrame) -> pa.DictionaryArray:
    """The personas' texts, each written once for all rows whose fields, compared as codes, are equal."""
    if "persona" in table.columns:
        return dictionary_encode(table["persona"])
    codes = table["demographic"].struct.unnest().select(pl.all().cast(pl.Categorical).to_physical())
    fields = codes.columns
    people = codes.with_row_index("row")
    people = people.unique(subset=fields, keep="first", maintain_order=True).with_row_index("index")
    index = codes.join(people, on=fields, how="left", maintain_order="left", nulls_equal=True)["index"]
    texts = table[people["row"], ["demographic"]].select(persona_expression())["persona"]
    return dictionary_encode(texts).take(index.to_arrow())


def _unify(chunks: Sequence[pa.DictionaryArray]) -> tuple[list, Ints]:
    """The distinct values of all chunks, in order of first appearance, and each row's index among them."""
    import pyarrow as pa

    column = pa.chunked_array(chunks).unify_dictionaries().combine_chunks()
    return column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64)
