"""Take a fraction of the responses, or all of them. The split thins no test study by it.

Reads:   params ``sample``; data/raw/
Writes:  data/sample/responses.parquet, data/sample/manifest.json
Command: python -m stages.sample
"""

from collections import Counter
from pathlib import Path

from socrates.core import params
from socrates.core.errors import run
from socrates.core.files import atomic_folder, parquet_parts, read_table, write_json
from socrates.data.params import Sample
from socrates.data.sampling import KEYS, choose
from socrates.data.studies import counts, iter_study_batches
from socrates.survey.tables import RESPONSES

RAW = Path("data/raw")
OUT = Path("data/sample")


def main() -> None:
    sample = params.load(Sample)
    raw = RAW / "responses.parquet"
    columns = [*KEYS, "demographic"] if sample.by == "cell" else KEYS
    keys = read_table(raw, {name: RESPONSES[name] for name in columns})
    chosen = choose(keys, sample.fraction, sample.by, sample.seed, sample.max_per_cell)
    keep = keys.filter(chosen).select("study_id", "sample_id")
    kept: Counter[str] = Counter()
    with atomic_folder(OUT) as folder:
        with parquet_parts(folder / "responses.parquet") as write:
            for batch in iter_study_batches(raw, None if chosen.all() else keep):
                write(batch)
                kept.update(counts(batch))
        manifest = {"sample": sample.model_dump(), "rows_read": keys.height, "kept": dict(kept)}
        write_json(folder / "manifest.json", manifest)
    print(f"sample: {keep.height} of {keys.height} rows kept, by {sample.by} -> {OUT}")


if __name__ == "__main__":
    run(main)
