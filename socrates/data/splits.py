"""What is held out from training: studies, conditions, questions or people.

The paper's claim about unseen studies divides whole studies. Its three easier claims hold out conditions, outcome
questions or participants of studies whose other answers are in training.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import polars as pl

from socrates.core.errors import DataError
from socrates.data.near_duplicates import PARTS
from socrates.data.params import Split
from socrates.data.sampling import digest, hash_keys

SPLITS = ("train", "val", "test")
# ``split.by`` -> the columns that say which unit a row belongs to, and the dataset's own mapping file.
UNITS = {
    "studies": (["study_id"], "participant_mapping.json"),
    "conditions": (["study_id", "condition_num"], "condition_mapping.json"),
    "tasks": (["study_id", "task_num"], "task_mapping.json"),
    "participants": (["study_id", "participant"], None),
}
HELD_OUT = 0.25  # of a study's conditions, tasks or participants: the share of the dataset's own mappings

Groups = list[list[str]]  # of studies that stay together
Counts = Mapping[str, int]


def assign(split: Split, units: pl.DataFrame, groups: Mapping[str, int], mapping: Any) -> pl.DataFrame:
    """The split of every unit: the columns of ``units`` and ``split``, in the order of a keyed hash of each alone.

    So neither the order that units come in matters, nor does one unit more move many of the others.

    Args:
        units: the distinct units of all responses (``UNITS``).
        groups: study -> its group (:func:`near_duplicates.linked_studies`); read by ``by: studies, method: seeded``.
        mapping: the dataset's own mapping file, an object; read by ``method: official``.
    """
    study, *number = units.columns
    if number:
        order = pl.Series(hash_keys(split.seed, units[study], units[number[0]]))
    else:
        order = pl.Series([digest(split.seed, name) for name in units[study]], dtype=pl.Binary)
    ranked = units.with_columns(hash=order).sort("hash", *units.columns).drop("hash")
    if split.method == "official":
        test, val = _official(ranked, mapping, UNITS[split.by][1] or "")
    elif number:
        test, val = _within_studies(ranked)
    else:
        members: dict[int, list[str]] = {}
        for name in ranked[study]:
            members.setdefault(groups[name], []).append(name)
        parts = _divided(list(members.values()), split.folds, split.fold, split.test_studies)
        test, val = (ranked[study].is_in(list(itertools.chain(*part))) for part in parts)
    label = pl.when(test).then(pl.lit("test")).when(val).then(pl.lit("val")).otherwise(pl.lit("train"))
    return ranked.with_columns(split=label)


def _divided(groups: Groups, folds: int | None, fold: int, test_studies: int | None) -> tuple[Groups, Groups]:
    """The groups of studies for testing and for validation.

    With ``folds`` every study is in one fold; ``fold`` is tested on, the next one is for validation. Else 20 of every
    210 studies are for either, or ``test_studies`` for testing, at least one group each; a group that is more than
    twice as large is trained on.
    """
    count, least = sum(map(len, groups)), folds or 3
    if len(groups) < least:
        needed = f"split.folds is {folds}" if folds else "train, validation and test need at least 3"
        alike = "; texts that differ in names and numbers alone count as one" if len(groups) < count else ""
        names = ", ".join(sorted(itertools.chain(*groups))) or "none"
        raise DataError(
            f"{count} studies ({names}) in {len(groups)} groups that share no scenario text: {needed}{alike}; "
            "add studies of other topics, or hold out conditions or participants (split.by)"
        )
    if folds:
        taken: list[Groups] = [[] for _ in range(folds)]
        for group in sorted(groups, key=len, reverse=True):  # the largest first, each to the smallest fold
            min(taken, key=lambda groups: sum(map(len, groups))).append(group)
        return taken[fold], taken[(fold + 1) % folds]
    held_out = max(1, round(count * 20 / 210))
    wanted = test_studies or held_out
    small = [group for group in groups if len(group) <= 2 * max(wanted, held_out)]
    candidates = small if len(small) > 1 else sorted(groups, key=len)[:2]
    test = _take(candidates, wanted, min(len(candidates) - 1, len(groups) - 2))
    if test_studies and (found := sum(map(len, test))) < test_studies:
        raise DataError(
            f"split.test_studies {test_studies}: of {count} studies in {len(groups)} groups that share no scenario "
            f"text, {found} can be tested on beside training and validation; ask for fewer"
        )
    rest = candidates[len(test) :]
    return test, _take(rest, held_out, min(len(rest), len(groups) - 1 - len(test)))


def _take(groups: Groups, wanted: int, most: int) -> Groups:
    """The first groups that hold ``wanted`` studies: at least one group, at most ``most``."""
    number = 1
    while sum(map(len, groups[:number])) < wanted and number < most:
        number += 1
    return groups[:number]


def _within_studies(ranked: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """A quarter of each study's units held out, a third of these for validation; a study's only unit is trained on."""
    size, rank = pl.len().over("study_id"), pl.int_range(pl.len()).over("study_id")
    quota = pl.when(size < 2).then(0).otherwise((size * HELD_OUT).round(0).clip(1))
    is_held = ranked.select(rank < quota).to_series()
    if (held := int(is_held.sum())) < 2:
        raise DataError(
            f"split.by {ranked.columns[1]}: {held} could be held out, 2 are needed; no study has several"
        )
    validation = is_held & (is_held.cum_sum() <= max(1, round(held / 3)))
    return is_held & ~validation, validation


def _official(ranked: pl.DataFrame, mapping: Any, file: str) -> tuple[pl.Series, pl.Series]:
    """The dataset's own held-out units for testing; a tenth of its others, 20 of 190 studies, for validation.

    The file is ``{"seen": [studies], "unseen": [studies]}``, where studies that the data lack (in a sample) are passed
    over, or ``{study: {"train": [numbers], "eval": [numbers]}}``: units that this does not name are trained on.
    """
    unit, studies = ranked.columns, ranked.width == 1
    keys, kind = (("seen", "unseen"), "studies") if studies else (("train", "eval"), "numbers")
    rows: list[tuple[Any, ...]] = []
    for study, parts in [("", mapping)] if studies else mapping.items():
        for key, test in zip(keys, (False, True), strict=True):
            part = parts.get(key) if isinstance(parts, dict) else None
            if not isinstance(part, list) or not (studies or all(str(number).isdigit() for number in part)):
                form = ", ".join(f'"{key}": [{kind}]' for key in keys)
                raise DataError(f"{file}: {study and f'study {study}: '}expected {{{form}}}")
            rows += [(str(name), test) if studies else (study, int(name), test) for name in part]
    schema = {**ranked.schema, "official": pl.Boolean()}
    named = pl.DataFrame(rows, schema=schema, orient="row").unique()
    twice = named.filter(pl.struct(unit).is_duplicated()).sort(unit)
    if twice.height:
        first = ", ".join(f"{name} {value}" for name, value in zip(unit, twice.row(0), strict=False))
        raise DataError(f"{file}: {first} is in both {keys[0]} and {keys[1]}")
    official = ranked.join(named, on=unit, how="left", maintain_order="left")["official"]
    if studies and official.null_count():
        strange = ", ".join(ranked.filter(official.is_null())["study_id"].head(5))
        raise DataError(f"{file} does not name {strange}; use split.method seeded")
    unseen, seen = official.eq_missing(True), official.eq_missing(False)
    tested, others = int(unseen.sum()), int(seen.sum())
    if not tested or others < 2:
        raise DataError(
            f"{file}: of the data's {unit[-1]} values {tested} are {keys[1]}, to be tested, and {others} {keys[0]}; "
            "the split needs 1 and 2: use split.method seeded"
        )
    validation = max(1, round(others * 20 / 190 if studies else 0.1 * others))
    return unseen, seen & (seen.cum_sum() <= validation)


def manifest(
    assigned: pl.DataFrame, kept: Mapping[str, Counts], near: pl.DataFrame, shared: Counts
) -> dict[str, Any]:
    """What ``data/splits/manifest.json`` says of the splits, and of what test and training share.

    ``near`` is ``NEAR_DUPLICATES`` of test and training texts, ``shared`` other counts, by name.
    """
    studies = {name: sorted(assigned.filter(split=name)["study_id"].unique()) for name in SPLITS}
    near_duplicates = {f"near_duplicate_{part}s": near.filter(part=part).height for part in PARTS}
    common = len({*studies["test"]} & {*studies["train"], *studies["val"]})
    return {
        "splits": {name: {**kept[name], "study_ids": studies[name]} for name in SPLITS},
        "overlap": {"shared_studies": common, **near_duplicates, **shared},
    }
