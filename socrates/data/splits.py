"""Train, validation and test studies, and the proof that the test ones are unseen.

The paper's claim is about studies nobody trained on, so whole studies are divided, never rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from socrates.core.errors import DataError
from socrates.data.sampling import digest
from socrates.survey.tables import CELL

SPLITS = ("train", "val", "test")

Studies = dict[str, list[str]]  # split -> its studies, sorted

# Scenario texts that train and test share once case, white space and numbers are folded.
NEAR_DUPLICATES = {
    "text": pl.String,  # folded
    "train_studies": pl.String,  # comma-separated
    "test_studies": pl.String,
    "train_scenarios": pl.UInt32,  # distinct texts that fold to it
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
    studies = {name: set(table["study_id"]) for name, table in texts.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := sorted(studies[one] & studies[other]):
            raise DataError(
                f"study {', '.join(shared[:5])} is in both {one} and {other}; choose another split"
            )
    same = (
        texts["train"]
        .join(texts["test"], on="stimuli", suffix="_test")
        .sort("study_id", "study_id_test", "stimuli")
    )
    if same.height:
        pairs = same.select("study_id", "study_id_test").unique(maintain_order=True).rows()
        named = ", ".join(f"{train} (train) and {test} (test)" for train, test in pairs[:5])
        raise DataError(
            f"{same['stimuli'].n_unique()} scenario texts are shared by train and test, in studies {named}: "
            f"{same['stimuli'][0][:80]!r}; choose another split.seed, or take one of the studies out"
        )
    folded = {name: texts[name].with_columns(text=fold(pl.col("stimuli"))) for name in ("train", "test")}
    common = folded["train"].select("text").unique().join(folded["test"].select("text").unique(), on="text")
    sides = [
        folded[name]
        .join(common, on="text", how="semi")
        .group_by("text")
        .agg(
            pl.col("study_id").unique().sort().str.join(",").alias(f"{name}_studies"),
            pl.col("stimuli").n_unique().alias(f"{name}_scenarios"),
        )
        for name in ("train", "test")
    ]
    return sides[0].join(sides[1], on="text").select(*NEAR_DUPLICATES).sort("text")


def fold(text: pl.Expr) -> pl.Expr:
    """``text`` in lower case, every number as ``#``, every run of white space as one space."""
    return (
        text.str.to_lowercase()
        .str.replace_all(r"\d[\d.,]*\d|\d", "#")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
    )


def counts(table: pl.DataFrame) -> dict[str, int]:
    """Rows, studies, cells, (study, participant) pairs and (study, scenario text) pairs of a table.

    The counts of tables that share no study add up.
    """
    return {
        "rows": table.height,
        "studies": table["study_id"].n_unique(),
        "cells": table.select(CELL).n_unique(),
        "participants": table.select("study_id", "participant").n_unique(),
        "scenarios": table.select("study_id", "stimuli").n_unique(),
    }


def manifest(studies: Studies, kept: Mapping[str, Mapping[str, int]], near: pl.DataFrame) -> dict[str, Any]:
    """What ``data/splits/manifest.json`` says of the splits and their overlap."""
    return {
        "splits": {name: {**kept[name], "study_ids": studies[name]} for name in SPLITS},
        "overlap": {
            "shared_studies": 0,
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
