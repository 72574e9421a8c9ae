"""Cleaning: every row is either in the canonical table or among the rejects with its reason."""

import itertools
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.data.sources.clean import clean
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES
from tests.survey_rows import row, survey, table


def up_to_five(rows):
    return rows["response"] <= 5


def cleaned(rows):
    return clean([("rows", rows)], up_to_five)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"study_id": None}, "missing_study"),
        ({"sample_id": None}, "missing_sample_id"),
        ({"participant": None}, "missing_participant"),
        ({"condition_num": None}, "missing_condition"),
        ({"task_num": None}, "missing_task"),
        ({"stimuli": " \n "}, "empty_scenario"),
        ({"stimuli": None}, "empty_scenario"),
        ({"response": None}, "missing_answer"),
        ({"response": 6}, "outside_stated_scale"),
    ],
)
def test_each_defect_has_its_reason(changed, reason):
    found = cleaned(table([row(sample=1), row(sample=2) | changed, row(sample=3)]))
    assert found.rejected == {reason: 1}
    assert found.rejects["row"].to_list() == [2]
    assert found.responses.height == 2
    assert found.rows == 3


def test_a_cell_with_too_many_answers_outside_its_scale_is_left_out_and_named():
    fine = [row(sample=n, condition_num=0, response=9 if n == 0 else 3) for n in range(5)]  # one slip of five
    wrong = [row(sample=n, condition_num=1, response=9 if n < 12 else 3) for n in range(10, 30)]
    found = clean([("rows", table(fine + wrong))], up_to_five, 0.1)
    assert found.rejected == {"outside_stated_scale": 3, "in_suspect_cell": 18}
    assert found.suspect["condition_num"].to_list() == [1]
    assert set(found.responses["condition_num"]) == {0}
    kept = clean([("rows", table(fine + wrong))], up_to_five, 0.11)
    assert kept.rejected == {"outside_stated_scale": 3} and kept.suspect.is_empty()


def test_one_of_identical_rows_is_kept_and_none_of_contradicting_ones():
    same, other = row(sample=1), row(sample=2)
    found = cleaned(table([same, other, same, same, other | {"response": 1}, row("bbbbb", sample=1)]))
    assert found.rejected == {"repeated_row": 2, "conflicting_key": 2}
    assert found.responses.select("study_id", "sample_id").rows() == [("aaaaa", 1), ("bbbbb", 1)]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("response", [2.0, float("nan"), 2.5, 2e99, None]),
        ("response", ["+2", "x", "2.5", "2e3", None]),
        ("response", [" 2. ", "", "1 2", "12345678901234567890", None]),
        ("sample_id", [2.0, None, 2.5, float("inf"), float("nan")]),
    ],
)
def test_whole_numbers_are_read_from_any_type_and_nothing_else_is(column, values):
    rows = table([row(sample=n) for n in range(5)]).with_columns(pl.Series(column, values))
    found = cleaned(rows)
    assert found.responses[column].to_list() == [2]
    assert found.responses.schema == RESPONSES
    assert found.rejects["row"].to_list() == [2, 3, 4, 5]


def test_demographics_of_other_types_become_text():
    rows = survey(1).with_columns(
        demographic=pl.struct(
            age=pl.Series([20.0, None, 30.0, 40.0, 50.5, 60.0]), income=pl.lit(7), mood=pl.lit("calm")
        )
    )
    found = cleaned(rows)
    people = found.responses.sort("sample_id")["demographic"].struct
    assert people.field("age").to_list() == ["20", None, "30", "40", "50.5", "60"]
    assert people.field("income").to_list() == ["7"] * 6
    assert people.field("gender").null_count() == 6
    assert people.fields == list(DEMOGRAPHICS)
    assert found.unknown_demographics == {"mood": 6}


def test_a_column_that_cannot_hold_numbers_is_named():
    with pytest.raises(DataError, match="rows: column response is List"):
        cleaned(survey(1).with_columns(response=pl.concat_list("response")))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_neither_row_order_nor_file_layout_changes_the_table(seed, cuts):
    rows = [row(f"s{n % 4}", n, response=1 + n % 6) for n in range(36)]
    rows += [row("s0", 0, response=1), row("s1", 1, response=4), row("s2") | {"sample_id": None}]
    random.Random(seed).shuffle(rows)
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [(f"f{n}", table(rows[a:b])) for n, (a, b) in enumerate(itertools.pairwise(bounds))]
    found = clean(parts, up_to_five)
    expected = cleaned(table(sorted(rows, key=str)))
    assert found.responses.equals(expected.responses)
    assert found.rejected == expected.rejected
