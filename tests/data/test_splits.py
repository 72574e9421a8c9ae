"""Splits: whole studies, in the paper's proportions, and no text on both sides."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.data.splits import check_overlap, normalise_text, official_split, seeded_split
from tests.survey_rows import row, survey, table

NAMES = [f"s{n:04d}" for n in range(210)]


def sizes(split: dict[str, list[str]]) -> tuple[int, int, int]:
    return len(split["train"]), len(split["val"]), len(split["test"])


@pytest.mark.parametrize(
    ("studies", "expected"),
    [(210, (170, 20, 20)), (60, (48, 6, 6)), (20, (16, 2, 2)), (8, (6, 1, 1)), (3, (1, 1, 1))],
)
def test_the_proportions_are_those_of_170_20_20(studies: int, expected: tuple[int, int, int]) -> None:
    assert sizes(seeded_split(NAMES[:studies], 42)) == expected


@given(order=st.permutations(NAMES[:30]), seed=st.integers())
def test_every_study_is_in_one_split_whatever_order_they_come_in(order: list[str], seed: int) -> None:
    split = seeded_split(order, seed)
    assert sorted(split["train"] + split["val"] + split["test"]) == NAMES[:30]
    assert split == seeded_split(NAMES[:30], seed)


def test_another_seed_is_another_split() -> None:
    assert seeded_split(NAMES, 1) != seeded_split(NAMES, 2)


@pytest.mark.parametrize("studies", [0, 1, 2])
def test_too_few_studies_are_an_error(studies: int) -> None:
    with pytest.raises(DataError, match=rf"{studies} studies.*at least 3"):
        seeded_split(NAMES[:studies], 42)


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


def parts(**stimuli: list[str]) -> dict[str, pl.DataFrame]:
    return {
        name: table(
            [row(name, n, stimuli=text) for n, text in enumerate(stimuli.get(name, [f"{name} reads"]))]
        )
        for name in ("train", "val", "test")
    }


def test_a_study_in_two_splits_fails() -> None:
    one = survey(1)
    with pytest.raises(DataError, match="s0000 is in both train and val"):
        check_overlap({"train": one, "val": one, "test": survey(2).filter(pl.col("study_id") == "s0001")})


def test_a_shared_scenario_text_fails_and_names_the_studies() -> None:
    with pytest.raises(
        DataError, match=r"1 scenario texts .* train \(train\) and test \(test\).*The same text"
    ):
        check_overlap(parts(train=["A text", "The same text"], test=["The same text", "Another"]))


def test_near_duplicates_are_listed() -> None:
    near = check_overlap(
        parts(
            train=["Rate 12 cats,  from 1 to 7", "Rate 3 cats, from 1 to 7", "Rate a dog"],
            test=["rate 1,200.5 CATS, from\n0 to 10", "Rate a bird"],
        )
    )
    assert near.to_dicts() == [
        {
            "text": "rate # cats, from # to #",
            "train_studies": "train",
            "test_studies": "test",
            "train_scenarios": 2,
            "test_scenarios": 1,
        }
    ]


def test_folding_keeps_words_apart_from_numbers() -> None:
    texts = pl.DataFrame({"text": [" The 1st of 3.5, or 4.\t", "a1b22"]})
    assert texts.select(normalise_text(pl.col("text")))["text"].to_list() == ["the #st of #, or #.", "a#b#"]
