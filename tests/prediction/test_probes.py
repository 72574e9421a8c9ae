"""Prompts with a part taken away or turned round: what is asked, what cannot be, and how answers come back."""

import polars as pl
import pytest

from socrates.prediction.probes import probe_rows, restored, reverse_labels, without_scenario
from socrates.survey.scales import scale
from socrates.survey.tables import CELL
from tests import tiny

WARM = (
    "A plan. How warm? Only return an integer from 0 to 10, where 0 = 'Cold' and 10 = 'Warm', nothing else."
)


@pytest.mark.parametrize(("text", "notation", "expected"), [
    (WARM, "0..10", WARM.replace("Cold", "x").replace("Warm", "Cold").replace("x", "Warm")),
    ("Agree? From 1 to 5, where 1 means Strongly disagree and 5 means Strongly agree.", "1..5",
     "Agree? From 1 to 5, where 1 means Strongly agree and 5 means Strongly disagree."),
    ("Only return 1 for 'Yes' or 2 for 'No'.", "1,2", "Only return 1 for 'No' or 2 for 'Yes'."),
    ("From 1 (Not at all) to 5 (Very), how much?", "1..5", "From 1 (Very) to 5 (Not at all), how much?"),
    ("1 = 'Good', 2 = 'Neither', 3 = 'Bad', no more.", "1..3", "1 = 'Bad', 2 = 'Neither', 3 = 'Good', no more."),
    ("Only return an integer from 1 to 7, nothing else.", "1..7", None),  # nothing says what 1 is
    ("Angry (1) to Calm (5). 1 means Angry and 5 means Calm.", "1..5", None),  # the question says so too
    ("1 means Never and 4 means Often, 5 means Always.", "1..5", None),  # 4 has no mirror
    ("Higher numbers mean more. 1 means Cold and 5 means Warm.", "1..5", None),
    ("1 means Yes, 2 means No. 1 means Agree.", "1,2", None),
    ("1 means Yes, 98 means No.", "1,2,98", None),  # not evenly spaced
])  # fmt: skip
def test_labels_are_exchanged_only_where_that_is_safe(text, notation, expected):
    assert reverse_labels(text, scale(notation)) == expected


def test_the_scenario_is_taken_away_where_there_is_one():
    question = "Do you agree? Only return 1 or 2."
    assert without_scenario(f"A plan for a toll. {question}") == question
    assert without_scenario(question) is None


def test_a_share_of_every_cell_is_asked_and_what_cannot_be_is_counted():
    table = tiny.rows(12)
    asked, lost = probe_rows(table, "no_persona", 1001)
    assert lost == {} and asked["demographic"].struct.unnest().null_count().to_numpy().min() == asked.height
    sizes = table.group_by(CELL).len().join(asked.group_by(CELL).len(), on=CELL, suffix="_asked")
    assert (sizes["len_asked"] == (sizes["len"] + 3) // 4).all()
    assert sizes.height == table.select(CELL).n_unique()
    assert probe_rows(table, "no_scenario", 1001)[0].columns == table.columns
    changed = table.with_columns(stimuli=pl.lit("Only return an integer from 1 to 7."))
    kept, lost = probe_rows(changed, "reversed_options", 1001)
    assert kept.height == 0 and lost == {"options cannot be reversed safely": asked.height}
    warm = table.with_columns(stimuli=pl.lit(WARM), scale=pl.lit("0..10"))
    for most, rows in ((11, asked.height), (10, 0)):  # a thinned scale is not evenly spaced
        assert probe_rows(warm, "reversed_options", most)[0].height == rows


def test_answers_of_reversed_options_are_mapped_back():
    predictions = pl.DataFrame({"probabilities": [[0.7, 0.2, 0.1]]})
    assert restored(predictions, "reversed_options")["probabilities"].to_list() == [[0.1, 0.2, 0.7]]
    assert restored(predictions, "no_persona") is predictions
