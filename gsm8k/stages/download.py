"""download: fetch or make the word problems.

Reads the hub, a local folder or nothing (synthetic). Writes gsm8k/data/train.parquet and test.parquet.
"""

from gsm8k.params import TEST, TRAIN, Problems, load
from gsm8k.problem_sources import parse, read_records
from socrates.core.errors import run
from socrates.core.files import write_table


def main() -> None:
    params = load(Problems)
    splits = [(path, read_records(params, path.stem)) for path in (TRAIN, TEST)]
    parsed = [(path, *parse(records, path.stem, params.max_rejected)) for path, records in splits]
    for path, problems, rejected in parsed:
        write_table(path, problems)
        dropped = f"; dropped: {rejected}" if rejected else ""
        print(f"download: {problems.height:,} {path.stem} problems{dropped}")


if __name__ == "__main__":
    run(main)
