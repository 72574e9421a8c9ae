"""What is held out from training, and the proof that it is: studies, conditions, questions or people.

The paper's claim about unseen studies divides whole studies. Its three easier claims hold out conditions, outcome
questions or participants of studies whose other answers are in training.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
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
OF_VALIDATION = 1 / 3  # of the units that are held out within studies

Studies = dict[str, list[str]]  # split -> its studies, sorted


def assign(split: Split, units: pl.DataFrame, groups: Mapping[str, int], mapping: Any) -> pl.DataFrame:
    """The split of every unit: the columns of ``units`` and ``split``.

    Args:
        units: the distinct units of all responses (``UNITS``).
        groups: study -> its group of studies that share a text; read by ``by: studies, method: seeded``.
        mapping: the dataset's own mapping file; read by ``method: official``.

    Raises:
        DataError: a split would be empty, or the mapping does not fit the data.
    """
    if split.by == "studies":
        studies = units["study_id"].to_list()
        if split.method == "official":
            divided = official_split(studies, mapping, split.seed)
        elif split.folds:
            divided = folded_split(groups, split.seed, split.folds, split.fold)
        else:
            divided = seeded_split(groups, split.seed, split.test_studies)
        rows = [(study, name) for name in SPLITS for study in divided[name]]
        return pl.DataFrame(rows, schema={"study_id": pl.String, "split": pl.String}, orient="row")
    if split.method == "official":
        return official_units(units, mapping, split.seed, UNITS[split.by][1] or "")
    return seeded_units(units, split.seed)


def seeded_split(groups: Mapping[str, int], seed: int, test_studies: int | None = None) -> Studies:
    """170 / 20 / 20 of 210 studies, the same proportions of other counts, at least one study each.

    Groups of studies stay together, in the order of a keyed hash of the names of their studies: the split does not
    depend on the order they come in, and one study more moves few of the others. A group that is more than twice as
    large as a held-out split is trained on.

    Args:
        groups: study -> its group, such as from :func:`near_duplicates.linked_studies`.
        test_studies: to test on, instead of 20 of 210.

    Raises:
        DataError: fewer than three groups, or too few for ``test_studies``.
    """
    ordered = _shuffled_groups(groups, seed, 3)
    held_out = max(1, round(len(groups) * 20 / 210))
    wanted = test_studies or held_out
    small = [group for group in ordered if len(group) <= 2 * max(wanted, held_out)]
    candidates = small if len(small) > 1 else sorted(ordered, key=len)[:2]
    test = _take(candidates, wanted, min(len(candidates) - 1, len(ordered) - 2))
    if test_studies and sum(map(len, test)) < test_studies:
        raise DataError(
            f"split.test_studies {test_studies}: of {len(groups)} studies in {len(ordered)} groups that share no "
            f"scenario text, {sum(map(len, test))} can be tested on beside training and validation; ask for fewer"
        )
    val = _take(candidates, held_out, min(len(candidates), len(ordered) - 1 - len(test)))
    return _studies(ordered, val, test)


def _take(groups: list[list[str]], wanted: int, most: int) -> list[list[str]]:
    """Remove groups from the front until they hold ``wanted`` studies: at least one group, at most ``most``."""
    taken = [groups.pop(0)]
    while sum(map(len, taken)) < wanted and len(taken) < most:
        taken.append(groups.pop(0))
    return taken


def folded_split(groups: Mapping[str, int], seed: int, folds: int, fold: int) -> Studies:
    """Cross-validation over studies: fold ``fold`` is tested on, the next one is for validation.

    Every study is in exactly one fold; ``folds`` as many as there are studies leaves one study out at a time.

    Raises:
        DataError: fewer groups than folds.
    """
    ordered = _shuffled_groups(groups, seed, folds)
    taken: list[list[list[str]]] = [[] for _ in range(folds)]
    for group in sorted(ordered, key=len, reverse=True):  # the largest first, each to the smallest fold
        min(taken, key=lambda groups: sum(map(len, groups))).append(group)
    return _studies(ordered, taken[(fold + 1) % folds], taken[fold])


def official_split(studies: Iterable[str], mapping: Any, seed: int) -> Studies:
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


def seeded_units(units: pl.DataFrame, seed: int) -> pl.DataFrame:
    """A quarter of each study's units held out, a third of these for validation; a study's only unit is trained on.

    Args:
        units: ``study_id`` and the unit's number, one row each.

    Raises:
        DataError: fewer than two units would be held out.
    """
    size = pl.len().over("study_id")
    quota = pl.when(size < 2).then(0).otherwise((size * HELD_OUT).round(0).clip(1))
    ranked = _hashed(units, seed).with_columns(held=pl.int_range(pl.len()).over("study_id") < quota)
    held = int(ranked["held"].sum())
    if held < 2:
        raise DataError(
            f"split.by {units.columns[1]}: {held} could be held out, 2 are needed; no study has several"
        )
    validation = pl.col("held").cum_sum() <= max(1, round(held * OF_VALIDATION))
    return _labelled(ranked, units, pl.col("held") & ~validation, pl.col("held") & validation)


def official_units(units: pl.DataFrame, mapping: Any, seed: int, file: str) -> pl.DataFrame:
    """The dataset's own held-out conditions or tasks for testing; a tenth of its other units for validation.

    Args:
        mapping: ``{study: {"train": [numbers], "eval": [numbers]}}``; units that it does not name are trained on.

    Raises:
        DataError: the mapping is of another form or contradicts itself, or a split would be empty.
    """
    number = units.columns[1]
    rows = []
    for study, parts in mapping.items() if isinstance(mapping, dict) else [("", None)]:
        for key, test in (("train", False), ("eval", True)):
            part = parts.get(key) if isinstance(parts, dict) else None
            if not isinstance(part, list) or not all(str(n).isdigit() for n in part):
                raise DataError(
                    f'{file}: study "{study}": expected {{"train": [numbers], "eval": [numbers]}}'
                )
            rows += [(study, int(n), test) for n in part]
    schema = pl.Schema({"study_id": pl.String(), number: units.schema[number], "official": pl.Boolean()})
    named = pl.DataFrame(rows, schema=schema, orient="row").unique()
    twice = named.filter(pl.struct(units.columns).is_duplicated())
    if twice.height:
        raise DataError(f"{file}: study {twice.row(0)[0]}: {twice.row(0)[1]} is in both train and eval")
    ranked = _hashed(units, seed).join(named, on=units.columns, how="left", maintain_order="left")
    unseen, seen = (pl.col("official").eq_missing(value) for value in (True, False))
    held, others = (int(ranked.select(part.sum()).item()) for part in (unseen, seen))
    if not held or others < 2:
        raise DataError(
            f"{file}: {held} of the data's {number} values are to be tested and {others} trained on; the split "
            "needs 1 and 2: use split.method seeded"
        )
    return _labelled(ranked, units, unseen, seen & (seen.cum_sum() <= max(1, round(0.1 * others))))


def check_assignment(assigned: pl.DataFrame) -> None:
    """Raise :class:`DataError` where a unit is in two splits, or a split has none."""
    unit = [name for name in assigned.columns if name != "split"]
    twice = assigned.filter(assigned.select(pl.struct(unit).is_duplicated()).to_series())
    if twice.height:
        named = " ".join(map(str, twice.row(0)[: len(unit)]))
        raise DataError(f"{unit[-1]} {named} is in two splits; choose another split")
    empty = [name for name in SPLITS if name not in assigned["split"]]
    if empty:
        raise DataError(f"split: nothing is left for {', '.join(empty)}; use more data")


def manifest(
    assigned: pl.DataFrame,
    kept: Mapping[str, Mapping[str, int]],
    near: pl.DataFrame,
    shared: Mapping[str, int],
) -> dict[str, Any]:
    """What ``data/splits/manifest.json`` says of the splits, and of what test and training share.

    Args:
        near: ``NEAR_DUPLICATES`` of test and training texts.
        shared: counts of what test rows share with training, by name.
    """
    studies = {name: sorted(assigned.filter(split=name)["study_id"].unique()) for name in SPLITS}
    return {
        "splits": {name: {**kept[name], "study_ids": studies[name]} for name in SPLITS},
        "overlap": {
            "shared_studies": len({*studies["test"]} & {*studies["train"], *studies["val"]}),
            **{f"near_duplicate_{part}s": near.filter(part=part).height for part in PARTS},
            **shared,
        },
    }


def _labelled(ranked: pl.DataFrame, units: pl.DataFrame, test: pl.Expr, validation: pl.Expr) -> pl.DataFrame:
    split = pl.when(test).then(pl.lit("test")).when(validation).then(pl.lit("val")).otherwise(pl.lit("train"))
    return ranked.select(*units.columns, split=split)


def _hashed(units: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The units in the order of a keyed hash of study and number."""
    hashed = units.with_columns(hash=hash_keys(seed, units["study_id"], units[units.columns[1]]))
    return hashed.sort("hash", *units.columns).drop("hash")


def _shuffled_groups(groups: Mapping[str, int], seed: int, least: int) -> list[list[str]]:
    """The groups' studies, groups in the order of their first study."""
    members: dict[int, list[str]] = {}
    for study in _shuffled(groups, seed):
        members.setdefault(groups[study], []).append(study)
    if len(members) < least:
        needed = "train, validation and test need at least 3" if least == 3 else f"split.folds is {least}"
        alike = (
            "; texts that differ in names and numbers alone count as one"
            if len(members) < len(groups)
            else ""
        )
        raise DataError(
            f"{len(groups)} studies ({', '.join(sorted(groups)) or 'none'}) in {len(members)} groups that share no "
            f"scenario text: {needed}{alike}; add studies of other topics, or hold out conditions or participants "
            "(split.by)"
        )
    return list(members.values())


def _studies(groups: list[list[str]], val: list[list[str]], test: list[list[str]]) -> Studies:
    train = [group for group in groups if group not in test and group not in val]
    divided = zip(SPLITS, (train, val, test), strict=True)
    return {name: sorted(itertools.chain.from_iterable(taken)) for name, taken in divided}


def _shuffled(studies: Iterable[str], seed: int) -> list[str]:
    return sorted(set(studies), key=lambda study: (digest(seed, study), study))
