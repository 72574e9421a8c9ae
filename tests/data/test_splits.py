"""Splits: whole studies, in the paper's proportions, and no text on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.data.splits import check_disjoint, official_split, seeded_split

NAMES = [f"s{n:04d}" for n in range(210)]


def alone(studies: list[str]) -> dict[str, int]:
    """Each study a group of its own."""
    return {study: i for i, study in enumerate(sorted(studies))}


def sizes(split: dict[str, list[str]]) -> tuple[int, int, int]:
    return len(split["train"]), len(split["val"]), len(split["test"])


@pytest.mark.parametrize(
    ("studies", "expected"),
    [(210, (170, 20, 20)), (60, (48, 6, 6)), (20, (16, 2, 2)), (8, (6, 1, 1)), (3, (1, 1, 1))],
)
def test_the_proportions_are_those_of_170_20_20(studies: int, expected: tuple[int, int, int]) -> None:
    assert sizes(seeded_split(alone(NAMES[:studies]), 42)) == expected


@given(order=st.permutations(NAMES[:30]), seed=st.integers())
def test_every_study_is_in_one_split_whatever_order_they_come_in(order: list[str], seed: int) -> None:
    split = seeded_split(alone(order), seed)
    assert sorted(split["train"] + split["val"] + split["test"]) == NAMES[:30]
    assert split == seeded_split(alone(NAMES[:30]), seed)


def test_another_seed_is_another_split() -> None:
    assert seeded_split(alone(NAMES), 1) != seeded_split(alone(NAMES), 2)


@pytest.mark.parametrize("studies", [0, 1, 2])
def test_too_few_studies_are_an_error(studies: int) -> None:
    with pytest.raises(DataError, match=rf"{studies} studies.*at least 3"):
        seeded_split(alone(NAMES[:studies]), 42)


def test_the_official_split_tests_on_the_unseen_studies() -> None:
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
def test_a_mapping_that_cannot_split_is_an_error(mapping: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        official_split(NAMES[:6], mapping, 42)


def test_a_study_in_two_splits_fails() -> None:
    with pytest.raises(DataError, match="s0000 is in both train and val"):
        check_disjoint({"train": ["s0000"], "val": ["s0000"], "test": ["s0001"]})


@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=20), seed=st.integers())
def test_groups_stay_together_and_no_split_is_empty(sizes: list[int], seed: int) -> None:
    groups = {f"s{g:02d}-{i}": g for g, size in enumerate(sizes) for i in range(size)}
    split = seeded_split(groups, seed)
    assert all(split.values())
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {groups[study] for study in split[one]} & {groups[study] for study in split[other]}
