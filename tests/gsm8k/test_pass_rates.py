"""Scores of attempts at word problems, checked against values worked out by hand."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from gsm8k import answer_format as answers
from gsm8k import pass_rates
from gsm8k.problems import COMPLETIONS, PROBLEMS
from socrates.core.errors import DataError

TEST = pl.DataFrame([(0, "a?", "", "4"), (1, "b?", "", "9")], schema=PROBLEMS, orient="row")


def attempt(problem, answer, model="base", sample=0, decoding="sampled"):
    return (problem, model, decoding, sample, answers.format_completion("thought", answer), 20, False)


def attempts(*rows):
    return pl.DataFrame(rows, schema=COMPLETIONS, orient="row")


def summary(table, problems, ks, resamples, seed):
    return pass_rates.summary(pass_rates.by_problem(table, problems, ks), resamples, seed)


@pytest.mark.parametrize(("samples", "correct"), [(6, 0), (6, 1), (6, 2), (6, 5), (6, 6), (1, 1)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(samples, correct):
    right = [place < correct for place in range(samples)]
    for k in range(1, samples + 1):
        subsets = list(combinations(right, k))
        share = sum(any(subset) for subset in subsets) / len(subsets)
        assert pass_rates.pass_at_k(samples, correct, k) == pytest.approx(share)


def test_rates_are_means_over_problems_not_completions():
    table = attempts(
        attempt(0, "4", sample=0), attempt(0, "4", sample=1), attempt(0, "4", sample=2), attempt(1, "8")
    )
    result = summary(table, TEST, ks=[1], resamples=200, seed=0)
    assert result["sampled"]["base"]["exact"]["value"] == 0.5
    assert result["sampled"]["base"]["pass@1"]["value"] == 0.5
    assert result["sampled"]["problems"] == 2


def test_format_and_length_are_reported():
    loose = (1, "base", "greedy", 0, "<reasoning>a</reasoning><answer>9</answer>", 40, True)
    table = attempts(attempt(0, "$4.", decoding="greedy"), loose)
    base = summary(table, TEST, ks=[], resamples=50, seed=0)["greedy"]["base"]
    values = {rate: stated["value"] for rate, stated in base.items()}
    assert list(values.items()) == [
        *(("exact", 1.0), ("strict_format", 0.5), ("soft_format", 1.0), ("truncated", 0.5), ("tokens", 30.0))
    ]


def test_pass_at_k_is_absent_where_there_are_fewer_samples():
    table = attempts(
        attempt(0, "4", decoding="greedy"), *(attempt(0, "4", sample=place) for place in range(2))
    )
    result = summary(table, TEST, ks=[1, 2], resamples=50, seed=0)
    assert "pass@2" not in result["greedy"]["base"]
    assert result["sampled"]["base"]["pass@2"]["value"] == 1.0


def test_the_difference_is_paired():
    ids = range(40)
    problems = pl.DataFrame([(i, "q", "", "1") for i in ids], schema=PROBLEMS, orient="row")
    base = [attempt(i, "1" if i % 2 else "0") for i in ids]
    same = [attempt(i, "1" if i % 2 else "0", model="trained") for i in ids]
    difference = summary(attempts(*base, *same), problems, [1], 500, 0)["sampled"]["difference"]["exact"]
    assert difference == {"value": 0.0, "low": 0.0, "high": 0.0}
    better = [attempt(i, "1" if i % 2 or i < 20 else "0", model="trained") for i in ids]
    difference = summary(attempts(*base, *better), problems, [1], 500, 0)["sampled"]["difference"]["exact"]
    assert difference["value"] == 0.25
    assert 0 < difference["low"] < 0.25 < difference["high"]


def test_the_order_of_attempts_and_the_seed_decide_nothing_and_everything():
    rng = np.random.default_rng(0)
    rows = [attempt(i, str(rng.integers(3)), sample=s) for i in range(30) for s in range(4)]
    problems = pl.DataFrame([(i, "q", "", "1") for i in range(30)], schema=PROBLEMS, orient="row")
    first = summary(attempts(*rows), problems, [1, 4], 300, seed=1)
    assert first == summary(attempts(*reversed(rows)), problems, [1, 4], 300, seed=1)
    assert first != summary(attempts(*rows), problems, [1, 4], 300, seed=2)


def test_models_that_met_different_problems_are_not_compared():
    with pytest.raises(DataError, match="not given the same problems"):
        summary(attempts(attempt(0, "4"), attempt(1, "9", model="trained")), TEST, [1], 50, 0)
