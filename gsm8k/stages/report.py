"""report: the page that a person reads.

Reads gsm8k/metrics/evaluate.json, gsm8k/data/test.parquet, gsm8k/data/attempts/ and
gsm8k/models/trained/training.json. Writes gsm8k/metrics/report.md.
Run: ``python -m gsm8k.stages.report``
"""

from pathlib import Path

import polars as pl

from gsm8k.params import Solve, load
from gsm8k.problem_report import render
from gsm8k.problems import ATTEMPTS, PROBLEMS
from socrates.core.errors import run
from socrates.core.files import read_json, read_table, write_text

DATA, METRICS = Path("gsm8k/data"), Path("gsm8k/metrics")
TRAINED = Path("gsm8k/models/trained")
MEND = "run make gsm8k"


def main() -> None:
    attempts = [read_table(DATA / f"attempts/{name}.parquet", ATTEMPTS) for name in ("base", "trained")]
    page = render(
        read_json(METRICS / "evaluate.json", MEND),
        pl.concat(attempts),
        read_table(DATA / "test.parquet", PROBLEMS),
        load(Solve).transcripts,
        read_json(TRAINED / "training.json", MEND),
    )
    write_text(METRICS / "report.md", page)
    print(f"report: {METRICS / 'report.md'} ({len(page) // 1024} KiB)")


if __name__ == "__main__":
    run(main)
