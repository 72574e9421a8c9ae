"""Take a fraction of the responses, or all of them.

Reads:   params ``sample``; data/raw/
Writes:  data/sample/responses.parquet, data/sample/manifest.json, and data/raw's *_mapping.json
Command: python -m stages.sample
"""

from __future__ import annotations

import shutil
from pathlib import Path

from socrates import params
from socrates.errors import run
from socrates.files import atomic_folder, write_json, write_table
from socrates.params.sample import Sample
from socrates.survey.sampling import KEYS, choose
from socrates.survey.splits import counts
from socrates.survey.tables import RESPONSES, read_table, sort_rows

RAW = Path("data/raw")
OUT = Path("data/sample")


def main() -> None:
    sample = params.load(Sample)
    table = read_table(RAW / "responses.parquet", RESPONSES)
    rows = table.height
    if sample.fraction < 1 or sample.max_per_cell is not None:
        chosen = choose(table.select(KEYS), sample.fraction, sample.by, sample.seed, sample.max_per_cell)
        table = table.filter(chosen)
    table = sort_rows(table)
    with atomic_folder(OUT) as folder:
        write_table(folder / "responses.parquet", table)
        for path in sorted(RAW.glob("*_mapping.json")):
            shutil.copyfile(path, folder / path.name)
        write_json(
            folder / "manifest.json",
            {"sample": sample.model_dump(), "rows_read": rows, "kept": counts(table)},
        )
    print(f"sample: {table.height} of {rows} rows kept, by {sample.by} -> {OUT}")


if __name__ == "__main__":
    run(main)
