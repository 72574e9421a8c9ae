"""Sampling: exact counts, and a choice that depends on the rows alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.data.sampling import choose, hash_keys
from socrates.survey.tables import CELL, DEMOGRAPHICS
from tests.survey_rows import row, survey, table


def within(people=30, tasks=3):
    """Two studies; every respondent answers every question of an arm, the first one twice."""
    rows = [
        row(study, 100 * person + 10 * task + n, participant=person, condition_num=person % 2, task_num=task)
        for study in ("aaaaa", "bbbbb")
        for person in range(people)
        for task in range(tasks)
        for n in range(2 if task == 0 else 1)
    ]
    return table(rows)


def chosen(rows, *arguments):
    return rows.filter(choose(rows, *arguments))


def people_of_cells(rows):
    return rows.group_by(CELL).agg(pl.col("participant").n_unique(), rows=pl.len())


@pytest.mark.parametrize("fraction", [0.01, 0.1, 1 / 3, 0.5, 0.999, 1.0])
def test_rows_are_counted_exactly(fraction):
    rows = survey(20, 10)
    assert chosen(rows, fraction, "rows", 42).height == round(fraction * 200)


def test_a_respondent_is_taken_whole():
    rows = within()
    taken = chosen(rows, 0.25, "participants", 42)
    assert taken.select("study_id", "participant").n_unique() == round(0.25 * 60)
    assert taken.height == 4 * round(0.25 * 60)


def test_cells_keep_their_share_of_respondents():
    people = people_of_cells(chosen(within(), 0.4, "cell", 42))
    assert people.height == 12
    assert people["participant"].unique().to_list() == [6]
    assert people.filter(pl.col("task_num") == 0)["rows"].unique().to_list() == [12]


def test_no_cell_vanishes_and_none_is_larger_than_asked():
    assert people_of_cells(chosen(within(), 0.001, "cell", 42)).height == 12
    capped = people_of_cells(chosen(within(), 1.0, "cell", 42, 4))
    assert capped["participant"].unique().to_list() == [4]


@settings(max_examples=20, deadline=None)
@given(
    order=st.randoms(use_true_random=False),
    fraction=st.floats(0.05, 1),
    by=st.sampled_from(["rows", "participants", "cell"]),
    seed=st.integers(-(2**70), 2**70),
)
def test_row_order_does_not_change_the_choice(order, fraction, by, seed):
    rows = within(8)
    positions = list(range(rows.height))
    order.shuffle(positions)
    one, other = chosen(rows, fraction, by, seed), chosen(rows[positions], fraction, by, seed)
    assert one.sort("study_id", "sample_id").equals(other.sort("study_id", "sample_id"))


@pytest.mark.parametrize("by", ["rows", "participants", "cell"])
def test_a_smaller_fraction_is_a_subset_and_another_seed_another_choice(by):
    rows = within()
    small, large = chosen(rows, 0.2, by, 1), chosen(rows, 0.5, by, 1)
    assert small.join(large, on=["study_id", "sample_id"], how="anti").is_empty()
    assert not small.equals(chosen(rows, 0.2, by, 2))


def test_people_of_a_cell_are_spread_over_their_demographics():
    """Of two equal halves, an even number takes as many of each, whatever the seed; hashes alone would not."""
    side = pl.when(pl.col("participant") % 4 < 2).then(pl.lit("Left")).otherwise(pl.lit("Right"))
    nothing = [pl.lit(None, pl.String).alias(name) for name in DEMOGRAPHICS if name != "ideology"]
    rows = within(64, 1).with_columns(demographic=pl.struct(side.alias("ideology"), *nothing))
    for seed in range(20):
        for people in (2, 4, 8):
            taken = chosen(rows, 1.0, "cell", seed, people).unique([*CELL, "participant"])
            halves = taken.group_by(*CELL, pl.col("demographic").struct.field("ideology")).len()
            assert set(halves["len"]) == {people // 2} and halves.height == 8


def test_nothing_left_is_an_error():
    with pytest.raises(DataError, match=r"sample.fraction 0.001"):
        choose(survey(2), 0.001, "rows", 42)


def test_the_numbers_never_change():
    """Written down once: another value would silently change every sample that was ever drawn."""
    numbers = hash_keys(42, pl.Series(["aaaaa", "aaaaa", "bbbbb"]), pl.Series([0, 1, -1]))
    assert numbers.dtype == np.uint64
    assert numbers.tolist() == [7629497564886594342, 5356909964717518260, 10417418320363033621]
