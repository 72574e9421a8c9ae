"""Where word problems come from: the hub, GSM8K's original JSONL files, or a generator.

Each function gives, for every split, records in GSM8K form (see ``gsm8k.problems.parse``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from gsm8k.params import Problems
from gsm8k.problems import SPLITS
from gsm8k.synthetic import records as synthetic
from socrates.core.errors import SourceError

Records = dict[str, list[Mapping[str, Any] | None]]


def read(params: Problems) -> Records:
    """The records of every split from the source that ``params`` names."""
    if params.source == "hub":
        return hub(params.repo, params.config, params.revision)
    if params.source == "local":
        return local(Path(params.path or ""))
    return synthetic(params.synthetic)


def local(folder: Path) -> Records:
    """Records of ``train.jsonl`` and ``test.jsonl``; a line that is no JSON object becomes None.

    Raises:
        SourceError: a file is missing or not UTF-8.
    """
    return {split: _jsonl(folder / f"{split}.jsonl") for split in SPLITS}


def _jsonl(path: Path) -> list[Mapping[str, Any] | None]:
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
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def hub(repo: str, config: str, revision: str) -> Records:
    """Records of a dataset on the Hugging Face hub at a pinned commit.

    Raises:
        SourceError: the hub cannot be reached, or has no such dataset, configuration or commit.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    found: Records = {}
    for split in SPLITS:
        name = f"{config}/{split}-00000-of-00001.parquet"
        try:
            path = hf_hub_download(repo, name, repo_type="dataset", revision=revision)
            found[split] = list(pl.read_parquet(path, columns=["question", "answer"]).to_dicts())
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, pl.exceptions.PolarsError) as error:
            raise SourceError(
                f"{repo}@{revision[:8]}/{name}: cannot be fetched ({' '.join(str(error).split())[:200]}); "
                "check the network, problems.repo and problems.revision"
            ) from None
    return found
