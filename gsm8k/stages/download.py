"""Fetch or make the word problems.

Reads the hub, a local folder or nothing (synthetic); writes ``gsm8k/data/train.parquet`` and
``gsm8k/data/test.parquet`` (see ``gsm8k.problems``).

    python -m gsm8k.stages.download
"""

from __future__ import annotations

from pathlib import Path

from gsm8k import problems, sources
from gsm8k.params import Problems, load
from socrates.core.errors import run
from socrates.core.files import write_table

FOLDER = Path("gsm8k/data")


def main() -> None:
    params = load(Problems)
    parsed = {split: problems.parse(records) for split, records in sources.read(params).items()}
    for split, part in parsed.items():
        problems.check(part, params.max_rejected, split)
    for split, part in parsed.items():
        write_table(FOLDER / f"{split}.parquet", part.table)
    print("; ".join(f"{split}: {part.table.height} problems{_lost(part)}" for split, part in parsed.items()))


def _lost(part: problems.Parsed) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in part.rejected.items())
    return f" ({sum(part.rejected.values())} dropped: {reasons})" if reasons else ""


if __name__ == "__main__":
    run(main)
