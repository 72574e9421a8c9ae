"""Survey rows as token ids: every distinct scenario and persona is tokenised once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.errors import ModelError
from socrates.survey.prompts import Layout, answer_part, persona_expression, persona_part, scenario_part

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.int32]
EMPTY: Ids = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class Encoded:
    """The rows of a responses table as token ids.

    Attributes:
        layout: the order of the parts.
        scenarios, personas: ids of each distinct text.
        scenario_of_row, persona_of_row: indices into them, ``[rows]``.
        answers: ids of each distinct answer, the end token included.
        answer_of_row: index into them, ``[rows]``.
    """

    layout: Layout
    scenarios: list[Ids]
    personas: list[Ids]
    answers: list[Ids]
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

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, prompt and answer, ``[rows]``."""
        parts = [
            (self.scenarios, self.scenario_of_row),
            (self.personas, self.persona_of_row),
            (self.answers, self.answer_of_row),
        ]
        return sum(np.array([len(ids) for ids in texts], dtype=np.int64)[of_row] for texts, of_row in parts)  # type: ignore[return-value]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that ends an answer.

    Raises:
        ModelError: the tokenizer has none; without it a model is never taught to stop.
    """
    token = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise ModelError(f"{tokenizer.name_or_path}: tokenizer has no end token; set eos_token in its config")
    return token


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[Ids]:
    """Ids of each text, without special tokens."""
    if not texts:
        return []
    batch = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [np.array(ids, dtype=np.int32) for ids in batch]


def encode(table: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, layout: Layout) -> Encoded:
    """Token ids of all rows of a responses table (see ``survey.tables.RESPONSES``)."""
    return encode_texts(table.select("stimuli", persona_expression(), "response"), tokenizer, layout)


def encode_texts(rows: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, layout: Layout) -> Encoded:
    """Token ids of rows whose persona is a text: columns ``stimuli``, ``persona`` and ``response``."""
    end = end_token(tokenizer)
    scenarios, scenario_of_row = _distinct(rows["stimuli"])
    personas, persona_of_row = _distinct(rows["persona"])
    answers, answer_of_row = _distinct(rows["response"])
    return Encoded(
        layout,
        token_ids(tokenizer, [scenario_part(text, layout) for text in scenarios]),
        token_ids(tokenizer, [persona_part(text, layout) for text in personas]),
        [np.append(ids, np.int32(end)) for ids in token_ids(tokenizer, [answer_part(a) for a in answers])],
        scenario_of_row,
        persona_of_row,
        answer_of_row,
    )


def _distinct(column: pl.Series) -> tuple[list, NDArray[np.int64]]:
    """Distinct values in order of first appearance, and each row's index among them."""
    frame = pl.DataFrame({"value": column})
    distinct = frame.unique(maintain_order=True).with_row_index("index")
    index = frame.join(distinct, on="value", how="left", maintain_order="left")["index"]
    return distinct["value"].to_list(), index.cast(pl.Int64).to_numpy()


def stems(data: Encoded, rows: list[int]) -> tuple[list[Ids], list[int]]:
    """The distinct shared parts of some rows, and the index of each row's among them."""
    if data.layout == "persona_first":
        return [EMPTY], [0] * len(rows)
    place: dict[int, int] = {}
    index = [place.setdefault(int(data.scenario_of_row[row]), len(place)) for row in rows]
    return [data.scenarios[scenario] for scenario in place], index
