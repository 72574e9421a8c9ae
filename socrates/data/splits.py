"""Train, validation and test studies, and the proof that the test ones are unseen.

The paper's claim is about studies nobody trained on, so whole studies are divided, never rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from socrates.core.errors import DataError
from socrates.data.near_duplicates import PARTS
from socrates.data.sampling import digest

SPLITS = ("train", "val", "test")

Studies = dict[str, list[str]]  # split -> its studies, sorted


def seeded_split(groups: Mapping[str, int], seed: int) -> Studies:
    """170 / 20 / 20 of 210 studies, the same proportions of other counts, at least one study each.

    Groups of studies stay together, in the order of a keyed hash of the names of their studies: the split does not
    depend on the order they come in, and one study more moves few of the others. A group that is more than twice as
    large as a held-out split is trained on.

    Args:
        groups: study -> its group, such as from :func:`near_duplicates.linked_studies`.

    Raises:
        DataError: fewer than three groups.
    """
    members: dict[int, list[str]] = {}
    for study in _shuffled(groups, seed):
        members.setdefault(groups[study], []).append(study)
    if len(members) < 3:
        raise DataError(
            f"{len(groups)} studies ({', '.join(sorted(groups)) or 'none'}) in {len(members)} groups that share no "
            "scenario text: train, validation and test need at least 3; use more data or a larger sample"
        )
    held_out = max(1, round(len(groups) * 20 / 210))
    ordered = list(members.values())
    small = [group for group in ordered if len(group) <= 2 * held_out]
    candidates = small if len(small) > 1 else sorted(ordered, key=len)[:2]
    test = [candidates.pop(0)]
    while sum(map(len, test)) < held_out and len(candidates) > 1 and len(test) < len(ordered) - 2:
        test.append(candidates.pop(0))
    val = [candidates.pop(0)]
    while sum(map(len, val)) < held_out and candidates and len(test) + len(val) < len(ordered) - 1:
        val.append(candidates.pop(0))
    train = [group for group in ordered if group not in test and group not in val]
    split = zip(SPLITS, (train, val, test), strict=True)
    return {name: sorted(itertools.chain.from_iterable(taken)) for name, taken in split}


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


def check_disjoint(studies: Studies) -> None:
    """Raise :class:`DataError` where a study is in two splits."""
    for one, other in itertools.combinations(SPLITS, 2):
        if shared := sorted(set(studies[one]) & set(studies[other])):
            raise DataError(
                f"study {', '.join(shared[:5])} is in both {one} and {other}; choose another split"
            )


def manifest(
    studies: Studies, kept: Mapping[str, Mapping[str, int]], near: pl.DataFrame, cells_flagged: int
) -> dict[str, Any]:
    """What ``data/splits/manifest.json`` says of the splits and of test texts that resemble training texts.

    Args:
        near: ``NEAR_DUPLICATES`` of test and training texts.
        cells_flagged: test cells with such a scenario.
    """
    return {
        "splits": {name: {**kept[name], "study_ids": studies[name]} for name in SPLITS},
        "overlap": {
            "shared_studies": 0,  # or the stage had failed
            **{f"near_duplicate_{part}s": near.filter(part=part).height for part in PARTS},
            "near_duplicate_cells": cells_flagged,
        },
    }


def _shuffled(studies: Iterable[str], seed: int) -> list[str]:
    return sorted(set(studies), key=lambda study: (digest(seed, study), study))
