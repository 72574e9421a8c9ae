"""Divide the responses by study; test studies keep their people.

Reads:   params ``split``; data/raw/ (test rows), data/sample/ (training and validation rows)
Writes:  data/splits/train.parquet, val.parquet, test.parquet    responses with their scale; rows that
                                           share a scenario lie together; test rows whose scenario
                                           resembles one of training are flagged ``near_duplicate``
         data/splits/manifest.json         study lists, counts, overlap
         data/splits/near_duplicates.csv   parts of test texts that resemble a training text
Command: python -m stages.split
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from socrates.core import params
from socrates.core.errors import DataError, run
from socrates.core.files import atomic_folder, parquet_parts, read_json, read_table, write_json, write_table
from socrates.data.near_duplicates import flag_near_duplicates, linked_studies, near_duplicates
from socrates.data.params import Split
from socrates.data.sampling import KEYS, choose
from socrates.data.scales.resolve import resolve_scales
from socrates.data.splits import SPLITS, Studies, check_disjoint, manifest, official_split, seeded_split
from socrates.data.studies import counts, iter_study_batches
from socrates.survey.tables import CELL, RESPONSES

RAW, SAMPLE = Path("data/raw"), Path("data/sample")
OUT = Path("data/splits")


def main() -> None:
    split = params.load(Split)
    texts = read_table(
        RAW / "responses.parquet", {name: RESPONSES[name] for name in ("study_id", "stimuli")}
    ).unique()
    studies = _studies(split, texts)
    check_disjoint(studies)
    of_split = {name: texts.filter(pl.col("study_id").is_in(studies[name])) for name in SPLITS}
    near = near_duplicates(of_split["train"], of_split["test"])
    with atomic_folder(OUT) as folder:
        kept, flagged = write_splits(folder, split, studies, near)
        write_table(folder / "near_duplicates.csv", near)
        write_json(
            folder / "manifest.json",
            {"split": split.model_dump(), **manifest(studies, kept, near, flagged)},
        )
    sizes = ", ".join(f"{name} {kept[name]['rows']} rows of {len(studies[name])} studies" for name in SPLITS)
    print(
        f"split: {sizes}; {flagged} of {kept['test']['cells']} test cells resemble a training scenario -> {OUT}"
    )


def write_splits(
    folder: Path, split: Split, studies: Studies, near: pl.DataFrame
) -> tuple[dict[str, Counter[str]], int]:
    """Write the three tables; returns what each holds, and the test cells that are flagged."""
    kept: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    flagged = 0
    with ExitStack() as files:
        write = {name: files.enter_context(parquet_parts(folder / f"{name}.parquet")) for name in SPLITS}
        for names, path, keep in (
            (("train", "val"), SAMPLE / "responses.parquet", None),
            (("test",), RAW / "responses.parquet", _test_rows(split, studies["test"])),
        ):
            for table in map(resolve_scales, iter_study_batches(path, keep)):
                for name in names:
                    rows = table.filter(pl.col("study_id").is_in(studies[name]))
                    if name == "test":
                        flags = flag_near_duplicates(rows["stimuli"].to_list(), near)
                        rows = rows.with_columns(pl.Series("near_duplicate", flags, pl.Boolean))
                        flagged += rows.filter("near_duplicate").select(CELL).n_unique()
                    if rows.height:
                        write[name](rows)
                        kept[name].update(counts(rows))
    empty = [name for name in SPLITS if not kept[name]["rows"]]
    if empty:
        raise DataError(f"split: no row of {', '.join(empty)} is left by the sample; raise sample.fraction")
    return kept, flagged


def _test_rows(split: Split, studies: list[str]) -> pl.DataFrame:
    """(study_id, sample_id) of the test rows: all, or so many people of each cell."""
    keys = read_table(RAW / "responses.parquet", {name: RESPONSES[name] for name in KEYS})
    keys = keys.filter(pl.col("study_id").is_in(studies))
    chosen = choose(keys, 1.0, "cell", split.seed, split.test_max_per_cell)
    return keys.filter(chosen).select("study_id", "sample_id")


def _studies(split: Split, texts: pl.DataFrame) -> Studies:
    if split.method == "seeded":
        return seeded_split(linked_studies(texts), split.seed)
    path = RAW / "participant_mapping.json"
    if not path.is_file():
        raise DataError(f"{path}: not there; split.method official needs the hub's data, or use seeded")
    mapping = read_json(path, "run the download stage again")
    return official_split(texts["study_id"].unique().to_list(), mapping, split.seed)


if __name__ == "__main__":
    run(main)
