"""The built-in base model: which answers it is taught, and that it is taught nothing else about them."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from socrates.survey.tables import SCALED_RESPONSES
from socrates.tiny_model.build import continuations, train_tokenizer, uniform_answers

TEXTS = ["Only return an integer from 0 to 100, nothing else.", "0 1 2 3 4 5 6 7 8 9"]


def test_continuations_count_the_options_that_begin_alike() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    token = {text: tokenizer.convert_tokens_to_ids(text) for text in "0123456789"}
    end = tokenizer.eos_token_id
    begun = continuations(tokenizer, ["0..100", "1..2"])
    # Of the 101 options one begins with 0, twelve with 1 (1, 10 to 19, 100), eleven with each other digit.
    assert begun["0..100"][()] == Counter(
        {token["0"]: 1, token["1"]: 12} | {token[d]: 11 for d in "23456789"}
    )
    assert begun["0..100"][token["1"], token["0"]] == Counter({end: 1, token["0"]: 1})
    assert begun["0..100"][token["1"], token["0"], token["0"]] == Counter({end: 1})
    assert begun["1..2"] == {
        (): Counter({token["1"]: 1, token["2"]: 1}),
        (token["1"],): Counter({end: 1}),
        (token["2"],): Counter({end: 1}),
    }


@pytest.fixture
def answered() -> pl.DataFrame:
    """400 people who all answer 7 on a scale from 0 to 9."""
    row = {
        "study_id": "s",
        "participant": 0,
        "condition_num": 1,
        "task_num": 1,
        "demographic": None,
        "stimuli": "How warm do you feel? Only return an integer from 0 to 9, where 0 means cold and 9 means warm.",
        "response": 7,
        "scale": "0..9",
        "scale_rule": "range",
    }
    rows = [row | {"sample_id": index} for index in range(400)]
    return pl.DataFrame(rows, schema=SCALED_RESPONSES)


def test_answers_of_people_never_reach_the_base_model(answered: pl.DataFrame) -> None:
    drawn = uniform_answers(answered, seed=1)
    assert drawn["scale"].unique().to_list() == ["0..9"]
    counts = drawn["response"].value_counts()
    assert len(counts) == 10 and counts["count"].max() < 80, "uniform, though everyone answered 7"
    elsewhere = answered.with_columns(response=pl.lit(2, pl.Int64))
    assert uniform_answers(elsewhere, seed=1)["response"].equals(drawn["response"])
