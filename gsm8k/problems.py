"""The problems table: word problems with a worked solution and one number as their answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from gsm8k.answer_format import INSTRUCTION, format_number, parse_number
from socrates.core.errors import DataError
from socrates.core.files import Schema

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train", "test")
Records = Iterable[Mapping[str, Any] | None]  # None: unreadable where it came from
PROBLEMS: Schema = {
    "problem_id": pl.Int64,  # the record's place in its file, from 0; unique within a split
    "question": pl.String,
    "solution": pl.String,  # the worked steps, as given
    "answer": pl.String,  # the number in its shortest exact notation
}
# One row is one completion of one problem.
ATTEMPTS: Schema = {
    "problem_id": pl.Int64,
    "model": pl.String,  # base | trained
    "decoding": pl.String,  # greedy | sampled
    "sample": pl.Int64,  # from 0 within a problem, model and decoding
    "completion": pl.String,  # decoded without special tokens
    "tokens": pl.Int64,  # of the completion, the end-of-turn token included
    "truncated": pl.Boolean,  # the length limit came before the end-of-turn token
}


@dataclass(frozen=True)
class Parsed:
    """A problems table and how many records did not make it into it, by reason."""

    table: pl.DataFrame
    rejected: dict[str, int]

    @property
    def reasons(self) -> str:
        """``3 empty question, 1 answer is not a number``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())


def parse(records: Records) -> Parsed:
    """The problems table of records in GSM8K form: ``question``, and ``answer`` ending in "#### N".

    A record without a question, without "####" or with something else than a number behind it is counted,
    not kept.
    """
    rows: list[tuple[int, str, str, str]] = []
    rejected: Counter[str] = Counter()
    for number, record in enumerate(records):
        row = _row(record)
        if isinstance(row, str):
            rejected[row] += 1
        else:
            rows.append((number, *row))
    return Parsed(pl.DataFrame(rows, schema=PROBLEMS, orient="row"), dict(sorted(rejected.items())))


def _row(record: Mapping[str, Any] | None) -> tuple[str, str, str] | str:
    """Question, solution and answer of a record, or the reason why it has none."""
    if record is None:
        return "unreadable record"
    question, text = record.get("question"), record.get("answer")
    if not isinstance(question, str) or not question.strip():
        return "empty question"
    if not isinstance(text, str) or "####" not in text:
        return "no #### before the answer"
    solution, _, answer = text.rpartition("####")
    value = parse_number(answer)
    if value is None:
        return "answer is not a number"
    return question.strip(), solution.strip(), format_number(value)


def check_rejected(parsed: Parsed, max_rejected: float, split: str) -> None:
    """Check that there are problems, and that at most ``max_rejected`` (a share) of the records were rejected.

    Raises:
        DataError: otherwise.
    """
    rejected, kept = sum(parsed.rejected.values()), parsed.table.height
    total = rejected + kept
    if not kept:
        reasons = parsed.reasons or "the file is empty"
        raise DataError(f"{split}: no usable problem among {total} records ({reasons})")
    if rejected > max_rejected * total:
        raise DataError(
            f"{split}: {rejected} of {total} problems are unusable ({parsed.reasons}), more than "
            f"problems.max_rejected {max_rejected:g} allows"
        )


def within_limit(table: pl.DataFrame, prompt_lengths: Sequence[int], limit: int) -> tuple[pl.DataFrame, int]:
    """The problems whose prompt has at most ``limit`` tokens, and how many were longer.

    Raises:
        DataError: none is short enough.
    """
    kept = table.filter(pl.Series(prompt_lengths, dtype=pl.Int64) <= limit)
    if table.height and not kept.height:
        raise DataError(
            f"every prompt is over the limit of {limit} tokens (the shortest has {min(prompt_lengths)}): "
            "raise grpo.max_prompt_length"
        )
    return kept, table.height - kept.height


def messages(question: str) -> list[dict[str, str]]:
    """The chat that asks for a solution in the XML format."""
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question}]


def prompt_text(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """The chat as text, up to where the answer begins."""
    return str(tokenizer.apply_chat_template(messages(question), tokenize=False, add_generation_prompt=True))
