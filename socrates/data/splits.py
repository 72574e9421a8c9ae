"""Train, validation and test studies, and the proof that the test ones are unseen.

The paper's claim is about studies nobody trained on, so whole studies are divided, never rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from socrates.core.errors import DataError
from socrates.data.sampling import digest

SPLITS = ("train", "val", "test")

Studies = dict[str, list[str]]  # split -> its studies, sorted

# Scenario texts that train and test share, or that differ only by case, white space and numbers.
NEAR_DUPLICATES = {
    "text": pl.String,  # normalised
    "train_studies": pl.String,  # comma-separated
    "test_studies": pl.String,
    "train_scenarios": pl.UInt32,  # distinct texts that become it
    "test_scenarios": pl.UInt32,
}


def seeded_split(studies: Iterable[str], seed: int) -> Studies:
    """170 / 20 / 20 of 210 studies, the same proportions of other counts, at least one study each.

    Studies are put in the order of a keyed hash of their names, so that the split does not depend on
    the order they come in, and one study more moves few of the others.

    Raises:
        DataError: fewer than three studies.
    """
    ordered = _shuffled(studies, seed)
    if len(ordered) < 3:
        raise DataError(
            f"{len(ordered)} studies ({', '.join(sorted(ordered)) or 'none'}): train, validation and test "
            "need at least 3; use more data or a larger sample"
        )
    held_out = max(1, round(len(ordered) * 20 / 210))
    return {
        "train": sorted(ordered[2 * held_out :]),
        "val": sorted(ordered[held_out : 2 * held_out]),
        "test": sorted(ordered[:held_out]),
    }


def official_split(studies: Iterable[str], mapping: dict[str, list[str]], seed: int) -> Studies:
    """The dataset's own unseen studies for testing; 20 of every 190 seen ones for validation.

    Args:
        mapping: ``{"seen": [...], "unseen": [...]}``, the names of studies; those that ``studies``
            lacks (in a sample) are passed over.

    Raises:
        DataError: the mapping is of another form, contradicts itself or does not name a study, or
            a split would be empty.
    """
    if not isinstance(mapping, dict) or not all(
        isinstance(mapping.get(key), list) for key in ("seen", "unseen")
    ):
        raise DataError('participant_mapping.json: expected {"seen": [studies], "unseen": [studies]}')
    present, seen, unseen = set(studies), set(mapping["seen"]), set(mapping["unseen"])
    if both := sorted(seen & unseen):
        raise DataError(f"participant_mapping.json: {', '.join(both[:5])} is both seen and unseen")
    if strange := sorted(present - seen - unseen):
        raise DataError(
            f"participant_mapping.json does not name {', '.join(strange[:5])}; use split.method seeded"
        )
    ordered = _shuffled(present & seen, seed)
    validation = max(1, round(len(ordered) * 20 / 190))
    test = sorted(present & unseen)
    if len(ordered) < 2 or not test:
        raise DataError(
            f"{len(ordered)} seen and {len(test)} unseen studies: the official split needs 2 and 1"
        )
    return {"train": sorted(ordered[validation:]), "val": sorted(ordered[:validation]), "test": test}


def check_overlap(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Prove that the splits share no study, and train and test no scenario text.

    Args:
        tables: split -> at least its distinct ``study_id`` and ``stimuli``.

    Returns:
        The ``NEAR_DUPLICATES`` of train and test, sorted by text.

    Raises:
        DataError: a study is in two splits, or train and test share a text exactly.
    """
    texts = {name: table.select("study_id", "stimuli").unique() for name, table in tables.items()}
    for one, other in itertools.combinations(SPLITS, 2):
        if shared := sorted(set(texts[one]["study_id"]) & set(texts[other]["study_id"])):
            raise DataError(
                f"study {', '.join(shared[:5])} is in both {one} and {other}; choose another split"
            )
    same = _shared(texts, pl.col("stimuli"))
    if same.height:
        first = same.row(0, named=True)
        raise DataError(
            f"{same.height} scenario texts are shared by train and test, the first in studies "
            f"{first['train_studies']} (train) and {first['test_studies']} (test): {first['text'][:80]!r}; "
            "choose another split.seed, or take one of the studies out"
        )
    return _shared(texts, normalise_text(pl.col("stimuli")))


def _shared(texts: dict[str, pl.DataFrame], text: pl.Expr) -> pl.DataFrame:
    """The values of ``text`` in both train and test (``NEAR_DUPLICATES``)."""
    sides = [
        texts[name]
        .group_by(text.alias("text"))
        .agg(
            pl.col("study_id").unique().sort().str.join(",").alias(f"{name}_studies"),
            pl.col("stimuli").n_unique().alias(f"{name}_scenarios"),
        )
        for name in ("train", "test")
    ]
    return sides[0].join(sides[1], on="text").select(*NEAR_DUPLICATES).sort("text")


def normalise_text(text: pl.Expr) -> pl.Expr:
    """``text`` in lower case, every number as ``#``, every run of white space as one space."""
    return (
        text.str.to_lowercase()
        .str.replace_all(r"\d[\d.,]*\d|\d", "#")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
    )


def manifest(studies: Studies, kept: Mapping[str, Mapping[str, int]], near: pl.DataFrame) -> dict[str, Any]:
    """What ``data/splits/manifest.json`` says of the splits and their overlap."""
    return {
        "splits": {name: {**kept[name], "study_ids": studies[name]} for name in SPLITS},
        "overlap": {
            "shared_studies": 0,  # or the stage had failed
            "shared_scenarios": 0,
            "near_duplicate_scenarios": near.height,  # the texts stand in near_duplicates.csv
            "near_duplicate_studies": near.group_by("train_studies", "test_studies")
            .agg(pl.len().alias("scenarios"))
            .sort("train_studies", "test_studies")
            .to_dicts(),
        },
    }


def _shuffled(studies: Iterable[str], seed: int) -> list[str]:
    return sorted(set(studies), key=lambda study: (digest(seed, study), study))
