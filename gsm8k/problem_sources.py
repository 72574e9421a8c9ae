"""Word problems from the hub, from GSM8K's original JSONL files, or made here, as a table."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from gsm8k.answer_format import format_number, parse_number
from gsm8k.params import Problems
from gsm8k.problems import PROBLEMS
from gsm8k.word_problems import make_records
from socrates.core.errors import DataError, SourceError
from socrates.core.hub import hub_errors

Record = tuple[str | None, str | None]  # question, and the worked solution that ends in "#### N"


def read_records(params: Problems, split: str) -> Iterable[Record]:
    """The records of a split in GSM8K form. Raises :class:`SourceError` for a file or hub that cannot be used."""
    if params.source == "synthetic":
        return make_records(params.synthetic)[split]
    path = Path(params.path or "") / f"{split}.jsonl"
    if params.source == "hub":
        name = f"{params.config}/{split}-00000-of-00001.parquet"
        with hub_errors(f"{params.repo}@{params.revision[:8]}/{name}", "problems.repo and problems.revision"):
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(params.repo, name, repo_type="dataset", revision=params.revision))
    try:
        table = (pl.read_parquet if params.source == "hub" else pl.read_ndjson)(path)
        return table.select(pl.col("question", "answer").cast(pl.String)).rows()
    except FileNotFoundError:
        raise SourceError(f"{path}: not found; problems.path must hold train.jsonl and test.jsonl") from None
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path}: cannot be used ({' '.join(str(error).split())[:200]})") from None


def parse(records: Iterable[Record], split: str, max_rejected: float) -> tuple[pl.DataFrame, str]:
    """The problems table of a split's records, and what is not in it, such as ``3 empty question``.

    Raises :class:`DataError` where no record or less than 1 - ``max_rejected`` of them can be used.
    """
    rows: list[tuple[int, str, str, str]] = []
    rejected: Counter[str] = Counter()
    for number, (question, text) in enumerate(records):
        solution, mark, answer = (text or "").rpartition("####")
        value = parse_number(answer)
        if not question or not question.strip():
            rejected["empty question"] += 1
        elif not mark:
            rejected["no #### before the answer"] += 1
        elif value is None:
            rejected["answer is not a number"] += 1
        else:
            rows.append((number, question.strip(), solution.strip(), format_number(value)))
    bad, total = rejected.total(), rejected.total() + len(rows)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    if not rows:
        told = reasons or "the file is empty"
        raise DataError(f"{split}: no usable problem among {total} records ({told})")
    if bad > max_rejected * total:
        allowed = f"problems.max_rejected {max_rejected:g} allows"
        raise DataError(f"{split}: {bad} of {total} problems are unusable ({reasons}), more than {allowed}")
    return pl.DataFrame(rows, schema=PROBLEMS, orient="row"), reasons
