"""Splits: whole studies, in the paper's proportions, and no text on both sides."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.data.splits import (
    check_assignment,
    folded_split,
    official_split,
    official_units,
    seeded_split,
    seeded_units,
)

NAMES = [f"s{n:04d}" for n in range(210)]


def alone(studies):
    """Each study a group of its own."""
    return {study: i for i, study in enumerate(sorted(studies))}


def sizes(split):
    return len(split["train"]), len(split["val"]), len(split["test"])


@pytest.mark.parametrize(
    ("studies", "expected"),
    [(210, (170, 20, 20)), (60, (48, 6, 6)), (20, (16, 2, 2)), (8, (6, 1, 1)), (3, (1, 1, 1))],
)
def test_the_proportions_are_those_of_170_20_20(studies, expected):
    assert sizes(seeded_split(alone(NAMES[:studies]), 42)) == expected


def test_more_studies_are_tested_on_where_asked_for_and_no_more_than_there_are():
    assert sizes(seeded_split(alone(NAMES[:6]), 42, 3)) == (2, 1, 3)
    with pytest.raises(DataError, match=r"split\.test_studies 5: of 6 studies .* 4 can be tested on"):
        seeded_split(alone(NAMES[:6]), 42, 5)
    with pytest.raises(DataError, match=r"2 studies.*at least 3"):
        seeded_split(alone(NAMES[:2]), 42)
    with pytest.raises(DataError, match="0 could be held out"):
        seeded_units(conditions(8, 1), 42)


@given(order=st.permutations(NAMES[:30]), seed=st.integers())
def test_every_study_is_in_one_split_whatever_order_they_come_in(order, seed):
    split = seeded_split(alone(order), seed)
    assert sorted(split["train"] + split["val"] + split["test"]) == NAMES[:30]
    assert split == seeded_split(alone(NAMES[:30]), seed) != seeded_split(alone(NAMES[:30]), seed + 1)


def test_the_official_split_tests_on_the_unseen_studies():
    split = official_split(NAMES, {"seen": NAMES[:170], "unseen": NAMES[170:]}, 42)
    assert sizes(split) == (152, 18, 40)
    assert split["test"] == NAMES[170:]
    assert sorted(split["train"] + split["val"]) == NAMES[:170]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"seen": NAMES[:5], "unseen": NAMES[4:6]}, "s0004 is both"),
        ({"seen": NAMES[:3], "unseen": NAMES[3:5]}, "does not name s0005"),
        ({"seen": NAMES[:6], "unseen": NAMES[10:]}, "6 seen and 0 unseen"),
        ({"seen": NAMES[:1], "unseen": NAMES[1:]}, "1 seen and 5 unseen"),
        ({"train": NAMES}, "expected"),
        ([], "expected"),
    ],
)
def test_a_mapping_that_cannot_split_is_an_error(mapping, message):
    with pytest.raises(DataError, match=message):
        official_split(NAMES[:6], mapping, 42)


def test_a_unit_in_two_splits_fails():
    assigned = pl.DataFrame({"study_id": ["s0000", "s0000", "s0001"], "split": ["train", "val", "test"]})
    with pytest.raises(DataError, match="study_id s0000 is in two splits"):
        check_assignment(assigned)
    with pytest.raises(DataError, match="nothing is left for val"):
        check_assignment(assigned[[0, 2]])


@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=20), seed=st.integers())
def test_groups_stay_together_and_no_split_is_empty(sizes, seed):
    groups = {f"s{g:02d}-{i}": g for g, size in enumerate(sizes) for i in range(size)}
    split = seeded_split(groups, seed)
    assert all(split.values())
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {groups[study] for study in split[one]} & {groups[study] for study in split[other]}


@pytest.mark.parametrize("folds", [3, 5, 12])
def test_every_study_is_tested_in_exactly_one_fold(folds):
    groups = {
        name: i // 2 if i < 6 else i for i, name in enumerate(NAMES[:15])
    }  # three pairs that share a text
    splits = [folded_split(groups, 42, folds, fold) for fold in range(folds)]
    assert sorted(study for split in splits for study in split["test"]) == NAMES[:15]
    for split in splits:
        assert sorted(split["train"] + split["val"] + split["test"]) == NAMES[:15] and split["val"]
        pairs = [{groups[study] for study in split[name]} for name in ("train", "val", "test")]
        assert not (pairs[0] & pairs[1] or pairs[0] & pairs[2] or pairs[1] & pairs[2])
    with pytest.raises(DataError, match="folds is 13"):
        folded_split(groups, 42, 13, 0)


def conditions(studies, most):
    """1 to ``most`` conditions a study, in turn."""
    rows = [(name, n) for i, name in enumerate(NAMES[:studies]) for n in range(1, 2 + i % most)]
    return pl.DataFrame(rows, schema={"study_id": pl.String, "condition_num": pl.Int64}, orient="row")


@given(seed=st.integers(0, 2**32))
def test_a_quarter_of_each_study_s_conditions_are_held_out(seed):
    units = conditions(40, 8)
    split = seeded_units(units.sample(fraction=1, shuffle=True, seed=seed), seed)
    assert split.sort(units.columns).equals(seeded_units(units, seed).sort(units.columns))
    held = split.group_by("study_id").agg(pl.len(), (pl.col("split") != "train").sum().alias("held"))
    assert all(h == (0 if n == 1 else max(1, int(pl.Series([n / 4]).round(0)[0]))) for _, n, h in held.rows())
    counts = dict(split["split"].value_counts().iter_rows())
    assert counts["val"] == round((counts["val"] + counts["test"]) / 3)


@pytest.mark.parametrize(("number", "studies"), [("condition_num", 129), ("task_num", 73)])
def test_what_the_official_mapping_holds_out_is_tested_and_what_it_lacks_is_trained_on(number, studies):
    """The form and the size of the dataset's own files: a quarter of the conditions or questions held out."""
    units = conditions(210, 8).rename({"condition_num": number})
    several = [
        (name, numbers)
        for (name,), rows in units.group_by("study_id", maintain_order=True)
        if len(numbers := rows[number].to_list()) > 1
    ][:studies]
    held = {name: numbers[: max(1, len(numbers) // 4)] for name, numbers in several}
    mapping = {
        name: {"train": [str(n) for n in numbers if n not in held[name]], "eval": held[name]}
        for name, numbers in several
    }
    assert len(mapping) == studies
    split = official_units(units, mapping, 42, "mapping.json")
    assert split.height == units.height
    tested = set(split.filter(split="test").select("study_id", number).iter_rows())
    assert tested == {(name, n) for name, numbers in held.items() for n in numbers}
    others = split.filter(~pl.col("study_id").is_in(list(mapping)))
    assert others["split"].unique().to_list() == ["train"]
    assert set(split.filter(split="val")["study_id"]) <= set(mapping)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"s0001": {"train": [1], "eval": [1, 2]}}, "study s0001: 1 is in both"),
        ({"s0001": {"train": [1]}}, 'study "s0001": expected'),
        ({"s0001": {"train": ["one"], "eval": [2]}}, 'study "s0001": expected'),
        ({"seen": ["s0001"]}, 'study "seen": expected'),
        ([], "expected"),
        ({"other": {"train": [1], "eval": [2]}}, "0 of the data's condition_num values are to be tested"),
    ],
)
def test_a_mapping_of_units_that_cannot_split_is_an_error(mapping, message):
    with pytest.raises(
        DataError, match=rf"condition_mapping.json: .*{message}|condition_mapping.json: {message}"
    ):
        official_units(conditions(8, 4), mapping, 42, "condition_mapping.json")
