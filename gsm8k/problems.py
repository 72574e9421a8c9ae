"""Word problems and attempts at them as tables, and a problem as a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from gsm8k.answer_format import INSTRUCTION
from socrates.core.files import Schema

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBLEMS: Schema = {
    "problem_id": pl.Int64,  # the record's place in its file, from 0; unique within a split
    "question": pl.String,
    "solution": pl.String,  # the worked steps, as given
    "answer": pl.String,  # the number in its shortest exact notation
}
# One row is one completion of one problem.
COMPLETIONS: Schema = {
    "problem_id": pl.Int64,
    "model": pl.String,  # base | trained
    "decoding": pl.String,  # greedy | sampled
    "sample": pl.Int64,  # from 0 within a problem, model and decoding
    "completion": pl.String,  # decoded without special tokens
    "tokens": pl.Int64,  # of the completion, the end-of-turn token included
    "truncated": pl.Boolean,  # the length limit came before the end-of-turn token
}


def messages(question: str) -> list[dict[str, str]]:
    """The chat that asks for a solution in the XML format."""
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question}]


def prompt_text(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """The chat as text, up to where the answer begins."""
    return str(tokenizer.apply_chat_template(messages(question), tokenize=False, add_generation_prompt=True))
