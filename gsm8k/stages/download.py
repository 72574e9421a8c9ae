"""download: fetch or make the word problems.

Reads the hub, a local folder or nothing (synthetic). Writes gsm8k/data/train.parquet and test.parquet (see
``gsm8k.problems``).
Run: ``python -m gsm8k.stages.download``
"""

from pathlib import Path

from gsm8k.params import Problems, load
from gsm8k.problem_sources import read_records
from gsm8k.problems import check_rejected, parse
from socrates.core.errors import run
from socrates.core.files import write_table

FOLDER = Path("gsm8k/data")


def main() -> None:
    params = load(Problems)
    parsed = {split: parse(records) for split, records in read_records(params).items()}
    for split, problems in parsed.items():
        check_rejected(problems, params.max_rejected, split)
    for split, problems in parsed.items():
        write_table(FOLDER / f"{split}.parquet", problems.table)
        dropped = f"; dropped: {problems.reasons}" if problems.rejected else ""
        print(f"download: {problems.table.height:,} {split} problems{dropped}")


if __name__ == "__main__":
    run(main)
