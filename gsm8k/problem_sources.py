"""Where word problems come from: the hub, GSM8K's original JSONL files, or a generator.

Each source gives, for every split, records in GSM8K form (see ``gsm8k.problems.parse``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from gsm8k.params import Problems
from gsm8k.problems import SPLITS, Records
from gsm8k.word_problems import make_records
from socrates.core.errors import SourceError
from socrates.core.hub import hub_errors


def read_records(params: Problems) -> dict[str, Records]:
    """The records of every split from the source that ``params`` name.

    Raises:
        SourceError: a file is missing or not UTF-8; the hub cannot be reached, or has no such dataset,
            configuration or commit.
        DataError: there are not as many different synthetic problems.
    """
    if params.source == "synthetic":
        return make_records(params.synthetic)
    if params.source == "hub":
        return {split: _from_hub(params, split) for split in SPLITS}
    return {split: _from_jsonl(Path(params.path or "") / f"{split}.jsonl") for split in SPLITS}


def _from_jsonl(path: Path) -> Records:
    """One record a line; None for a line that is no JSON object."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise SourceError(f"{path}: not found; problems.path must hold train.jsonl and test.jsonl") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 (byte {error.start})") from None
    return [_record(line) for line in lines if line.strip()]


def _record(line: str) -> Mapping[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _from_hub(params: Problems, split: str) -> Records:
    """A split of a dataset on the Hugging Face hub, at a pinned commit."""
    name = f"{params.config}/{split}-00000-of-00001.parquet"
    with hub_errors(f"{params.repo}@{params.revision[:8]}/{name}", "problems.repo and problems.revision"):
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(params.repo, name, repo_type="dataset", revision=params.revision)
    try:
        return pl.read_parquet(path, columns=["question", "answer"]).to_dicts()
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path}: cannot be used ({' '.join(str(error).split())[:200]})") from None
