"""Hold out studies, conditions, questions or people; test rows keep their people.

Reads:   params ``split``; data/raw/ (test rows), data/sample/ (training and validation rows)
Writes:  data/splits/train.parquet, val.parquet, test.parquet    responses with their scale; rows that
                                           share a scenario lie together; test rows whose scenario
                                           resembles one of training are flagged ``near_duplicate``
         data/splits/manifest.json         study lists, counts, overlap
         data/splits/near_duplicates.csv   parts of test texts that resemble a training text
Command: python -m stages.split
"""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from socrates.core import params
from socrates.core.errors import DataError, run
from socrates.core.files import atomic_folder, parquet_parts, read_json, read_table, write_json, write_table
from socrates.data.near_duplicates import (
    NEAR_DUPLICATES,
    flag_near_duplicates,
    linked_studies,
    near_duplicates,
    repeated_texts,
)
from socrates.data.params import Split
from socrates.data.sampling import KEYS, choose
from socrates.data.scales.resolve import resolve_scales
from socrates.data.splits import SPLITS, UNITS, assign, manifest
from socrates.data.studies import counts, iter_study_batches
from socrates.survey.tables import CELL, RESPONSES

RAW, SAMPLE = Path("data/raw"), Path("data/sample")
OUT = Path("data/splits")


def main() -> None:
    split = params.load(Split)
    assigned = _assignment(split)
    near = _seen_texts(split, assigned)
    with atomic_folder(OUT) as folder:
        kept, flagged = write_splits(folder, split, assigned, near)
        write_table(folder / "near_duplicates.csv", near)
        shared = {"near_duplicate_cells": flagged, "people_in_training": _people_in_training(split, assigned)}
        write_json(
            folder / "manifest.json", {"split": split.model_dump(), **manifest(assigned, kept, near, shared)}
        )
    sizes = ", ".join(
        f"{name} {kept[name]['rows']} rows of {(n := kept[name]['studies'])} {'study' if n == 1 else 'studies'}"
        for name in SPLITS
    )
    print(
        f"split by {split.by}: {sizes}; {flagged} of {kept['test']['cells']} test cells resemble a training "
        f"{'scenario' if split.by == 'studies' else 'text'}; {shared['people_in_training']} of "
        f"{kept['test']['participants']} test people answer in training too -> {OUT}"
    )
    if observed := sum(kept[name]["scale_observed"] for name in SPLITS):
        print(f"split: {observed} rows state no answer scale: theirs is what people answered to the question")


def _assignment(split: Split) -> pl.DataFrame:
    """The split of every unit of the data."""
    unit, file = UNITS[split.by]
    groups = {}
    if (split.by, split.method) == ("studies", "seeded"):
        groups = linked_studies(_distinct("study_id", "stimuli"))
    mapping = None
    if split.method == "official":
        path = RAW / (file or "")
        if not path.is_file():
            raise DataError(f"{path}: not there; split.method official needs the hub's data, or use seeded")
        mapping = read_json(path, "run the download stage again")
    return assign(split, _distinct(*unit), groups, mapping)


def _seen_texts(split: Split, assigned: pl.DataFrame) -> pl.DataFrame:
    """Test texts that training has too (``NEAR_DUPLICATES``).

    Across studies every near-duplicate counts. The conditions and questions of one study resemble each other by
    design, so that there only a text that is the same word for word counts; people are asked the same by design.
    """
    if split.by == "participants":
        return pl.DataFrame(schema=NEAR_DUPLICATES)
    texts = _distinct(*{*UNITS[split.by][0], "stimuli"}).join(assigned, on=UNITS[split.by][0])
    train, test = (texts.filter(split=name) for name in ("train", "test"))
    return near_duplicates(train, test) if split.by == "studies" else repeated_texts(train, test)


def _people_in_training(split: Split, assigned: pl.DataFrame) -> int:
    """(study, participant) pairs of test rows who also answer in training."""
    people = _distinct(*{*UNITS[split.by][0], "study_id", "participant"}).join(
        assigned, on=UNITS[split.by][0]
    )
    train, test = (
        people.filter(split=name).select("study_id", "participant").unique() for name in ("train", "test")
    )
    return test.join(train, on=test.columns, how="semi").height


def _distinct(*columns: str) -> pl.DataFrame:
    """The distinct values of these columns of all responses."""
    return read_table(RAW / "responses.parquet", {name: RESPONSES[name] for name in columns}).unique()


def write_splits(
    folder: Path, split: Split, assigned: pl.DataFrame, near: pl.DataFrame
) -> tuple[dict[str, Counter[str]], int]:
    """Write the three tables; returns what each holds, and the test cells that are flagged."""
    unit = UNITS[split.by][0]
    kept: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    flagged = 0
    with ExitStack() as files:
        write = {name: files.enter_context(parquet_parts(folder / f"{name}.parquet")) for name in SPLITS}
        for names, path, keep in (
            (("train", "val"), SAMPLE / "responses.parquet", None),
            (("test",), RAW / "responses.parquet", _test_rows(split, assigned)),
        ):
            for table in iter_study_batches(path, keep):
                parts = table.join(assigned, on=unit, how="left", maintain_order="left")
                for name in names:
                    # A scale that is not stated is what people answered: those of this split, not of another.
                    rows = resolve_scales(parts.filter(split=name).drop("split"))
                    if name == "test":
                        rows = rows.with_columns(
                            near_duplicate=pl.Series(
                                flag_near_duplicates(rows["stimuli"].to_list(), near), dtype=pl.Boolean
                            )
                        )
                        flagged += rows.filter("near_duplicate").select(CELL).n_unique()
                    if rows.height:
                        write[name](rows)
                        kept[name].update(counts(rows))
                        observed = rows.filter(pl.col("scale_rule").str.contains("observed"))
                        kept[name]["scale_observed"] += observed.height
    empty = [name for name in SPLITS if not kept[name]["rows"]]
    if empty:
        raise DataError(f"split: no row of {', '.join(empty)} is left by the sample; raise sample.fraction")
    return kept, flagged


def _test_rows(split: Split, assigned: pl.DataFrame) -> pl.DataFrame:
    """(study_id, sample_id) of the test rows: all, or so many people of each cell."""
    most = split.test_max_per_cell
    columns = [*KEYS, *(["demographic"] if most else [])]
    keys = read_table(RAW / "responses.parquet", {name: RESPONSES[name] for name in columns})
    keys = keys.join(assigned.filter(split="test"), on=UNITS[split.by][0], how="semi")
    if most:
        keys = keys.filter(choose(keys, 1.0, "cell", split.seed, most))
    return keys.select("study_id", "sample_id")


if __name__ == "__main__":
    run(main)
