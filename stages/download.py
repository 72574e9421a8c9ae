"""Bring survey responses in, from whichever source, as one canonical table.

Reads:   params ``data``; the hub (data.source hub), data.path (local) or nothing (synthetic)
Writes:  data/raw/responses.parquet    the usable rows
         data/raw/rejects.csv          the others, each with its reason
         data/raw/manifest.json        source, file hashes, counts by reason
         data/raw/person_truth.parquet the planted distribution of each response (synthetic)
         data/raw/corpus.parquet       what the built-in model reads (synthetic), quiz.parquet what it should know
         data/raw/*_mapping.json       the dataset's own split files (hub, or local where present)
Command: python -m stages.download
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from socrates.core import params
from socrates.core.errors import DataError, run
from socrates.core.files import atomic_folder, write_json, write_table
from socrates.data.params import Data
from socrates.data.scales.resolve import conforms
from socrates.data.sources.clean import ADVICE, SUSPECT, Cleaned, Source, clean
from socrates.data.sources.hub import open_hub
from socrates.data.sources.local import open_local
from socrates.data.studies import counts
from socrates.data.synthetic.generate import generate
from socrates.survey.personas import persona_fields

OUT = Path("data/raw")


def main() -> None:
    data = params.load(Data)
    extra: dict[str, pl.DataFrame] = {}
    if data.source == "synthetic":
        responses, extra = generate(data.synthetic)
        source = Source(iter([("synthetic", responses)]), {"world": data.synthetic.model_dump()})
    elif data.source == "hub":
        source = open_hub(data.repo, data.revision)
    else:
        source = open_local(Path(data.path or ""))
    cleaned = clean(_shown(source.tables), conforms, data.max_rejected_in_cell)
    _check_rejected(cleaned, data.max_rejected)

    with atomic_folder(OUT) as folder:
        write_table(folder / "responses.parquet", cleaned.responses)
        write_table(folder / "rejects.csv", cleaned.rejects)
        for name, table in extra.items():
            write_table(folder / f"{name}.parquet", table)
        for name, path in sorted(source.mappings.items()):
            shutil.copyfile(path, folder / name)
        manifest = {
            "source": data.source,
            **source.about,
            "rows_read": cleaned.rows,
            "kept": counts(cleaned.responses),
            "rejected": cleaned.rejected,
            "suspect_cells": [list(cell) for cell in cleaned.suspect.iter_rows()],
            "unknown_demographics": dict(sorted(cleaned.unknown_demographics.items())),
        }
        write_json(folder / "manifest.json", manifest)
    for study, condition, task in cleaned.suspect.iter_rows():
        cell = f"study {study}, condition {condition}, task {task}"
        print(f"download: {cell} is left out: too many of its answers are outside its scale")
    print(f"download: {_summary(cleaned)} -> {OUT}")
    people = cleaned.responses["demographic"].struct.unnest()
    known = {name: count for name in people.columns if (count := people[name].count())}
    print(f"download: {persona_fields(known, cleaned.unknown_demographics, people.height)}")


def _shown(tables: Iterator[tuple[str, pl.DataFrame]]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name each file as it is read: a full download takes minutes."""
    for name, table in tables:
        print(f"download: {name}: {table.height} rows", flush=True)
        yield name, table


def _check_rejected(cleaned: Cleaned, limit: float) -> None:
    if not cleaned.rows:
        raise DataError("the source holds no rows: nothing to use")
    # A person who left a question out is no fault of the file, and neighbours of faulty rows are not counted again.
    faulty = cleaned.rejects.filter(~pl.col("reason").is_in([SUSPECT, "missing_answer"]))
    if len(faulty) > limit * cleaned.rows or not cleaned.responses.height:
        first = (faulty if len(faulty) else cleaned.rejects).row(0, named=True)
        advice = "".join(f"{ADVICE[reason]}; " for reason in cleaned.rejected if reason in ADVICE)
        raise DataError(
            f"{_summary(cleaned)}: more than data.max_rejected {limit} of the rows cannot be used; "
            f"first: {first['file']} row {first['row']} ({first['reason']}, answer {first['answer']!r}); "
            f"{advice}mend the source or raise the limit"
        )


def _summary(cleaned: Cleaned) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in cleaned.rejected.items())
    told = f"{cleaned.responses.height} rows kept, {cleaned.rejects.height} rejected"
    return f"{told} ({reasons})" if reasons else told


if __name__ == "__main__":
    run(main)
