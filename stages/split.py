"""Divide the responses by study, and prove that test studies and their texts are unseen.

Reads:   params ``split``; data/sample/
Writes:  data/splits/train.parquet, val.parquet, test.parquet    responses with their scale; rows that
                                           share a scenario lie together
         data/splits/manifest.json         study lists, counts, overlap
         data/splits/near_duplicates.csv   texts of train and test that differ only by case, white space and numbers
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
from socrates.data.params import Split
from socrates.data.scales.resolve import resolve_scales
from socrates.data.splits import SPLITS, Studies, check_overlap, manifest, official_split, seeded_split
from socrates.data.studies import counts, iter_study_batches

SAMPLE = Path("data/sample")
OUT = Path("data/splits")


def main() -> None:
    split = params.load(Split)
    path = SAMPLE / "responses.parquet"
    studies = _studies(split, read_table(path, {"study_id": pl.String})["study_id"].unique().to_list())
    kept: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    texts: dict[str, list[pl.DataFrame]] = {name: [] for name in SPLITS}
    with atomic_folder(OUT) as folder:
        with ExitStack() as files:
            write = {name: files.enter_context(parquet_parts(folder / f"{name}.parquet")) for name in SPLITS}
            for table in map(resolve_scales, iter_study_batches(path)):
                for name in SPLITS:
                    part = table.filter(pl.col("study_id").is_in(studies[name]))
                    if part.height:
                        write[name](part)
                        kept[name].update(counts(part))
                        texts[name].append(part.select("study_id", "stimuli").unique(maintain_order=True))
        near = check_overlap({name: pl.concat(parts) for name, parts in texts.items()})
        write_table(folder / "near_duplicates.csv", near)
        write_json(folder / "manifest.json", {"split": split.model_dump(), **manifest(studies, kept, near)})
    sizes = ", ".join(f"{name} {kept[name]['rows']} rows of {len(studies[name])} studies" for name in SPLITS)
    print(f"split: {sizes}; {near.height} near-duplicate texts between train and test -> {OUT}")


def _studies(split: Split, present: list[str]) -> Studies:
    if split.method == "seeded":
        return seeded_split(present, split.seed)
    path = SAMPLE / "participant_mapping.json"
    if not path.is_file():
        raise DataError(f"{path}: not there; split.method official needs the hub's data, or use seeded")
    mapping = read_json(path, "run the download stage again")
    return official_split(present, mapping, split.seed)


if __name__ == "__main__":
    run(main)
