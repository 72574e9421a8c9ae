"""Scores of attempts at word problems, checked against values worked out by hand."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from gsm8k import answer_format as answers
from gsm8k.pass_rates import pass_at_k, summary
from gsm8k.problems import COMPLETIONS, PROBLEMS
from socrates.core.errors import DataError


def attempt(problem, answer, model="base", sample=0, decoding="sampled"):
    return (problem, model, decoding, sample, answers.format_completion("thought", answer), 20, False)


def summarised(base, trained=None, references=("4", "9"), ks=(1,), resamples=50, seed=0):
    """Of attempts at problems with these answers; the trained model writes what base does, or ``trained``."""
    if trained is None:
        trained = [(row[0], "trained", *row[2:]) for row in base]
    problems = [(number, "q?", "", answer) for number, answer in enumerate(references)]
    attempts = pl.DataFrame([*base, *trained], schema=COMPLETIONS, orient="row")
    return summary(attempts, pl.DataFrame(problems, schema=PROBLEMS, orient="row"), [*ks], resamples, seed)


@pytest.mark.parametrize(("samples", "correct"), [(6, 0), (6, 1), (6, 2), (6, 5), (6, 6), (1, 1)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(samples, correct):
    right = [place < correct for place in range(samples)]
    for k in range(1, samples + 1):
        share = np.mean([any(subset) for subset in combinations(right, k)])
        assert pass_at_k(samples, correct, k) == pytest.approx(share)


def test_rates_are_means_over_problems_not_completions():
    result = summarised([*(attempt(0, "4", sample=sample) for sample in range(3)), attempt(1, "8")])
    assert result["sampled"]["base"]["exact"]["value"] == result["sampled"]["base"]["pass@1"]["value"] == 0.5
    assert result["sampled"]["problems"] == 2


def test_format_and_length_are_reported():
    loose = (1, "base", "greedy", 0, "<reasoning>a</reasoning><answer>9</answer>", 40, True)
    base = summarised([attempt(0, "$4.", decoding="greedy"), loose], ks=())["greedy"]["base"]
    values = {"exact": 1.0, "strict_format": 0.5, "soft_format": 1.0, "truncated": 0.5, "tokens": 30.0}
    assert list(base.items()) == [(rate, base[rate] | {"value": value}) for rate, value in values.items()]


def test_pass_at_k_is_absent_where_there_are_fewer_samples():
    rows = [attempt(0, "4", decoding="greedy"), *(attempt(0, "4", sample=place) for place in range(2))]
    result = summarised(rows, ks=(1, 2))
    assert "pass@2" not in result["greedy"]["base"]
    assert result["sampled"]["base"]["pass@2"]["value"] == 1.0


def test_the_difference_is_paired():
    base = [attempt(i, "1" if i % 2 else "0") for i in range(40)]
    better = [attempt(i, "1" if i % 2 or i < 20 else "0", model="trained") for i in range(40)]
    same, gain = (
        summarised(base, trained, ["1"] * 40, resamples=500)["sampled"]["difference"]["exact"]
        for trained in (None, better)
    )
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert gain["value"] == 0.25 and 0 < gain["low"] < 0.25 < gain["high"]


def test_the_order_of_attempts_and_the_seed_decide_nothing_and_everything():
    rng = np.random.default_rng(0)
    rows = [attempt(i, str(rng.integers(3)), sample=s) for i in range(30) for s in range(4)]
    first, turned, other = (
        summarised(some, None, ["1"] * 30, (1, 4), 300, seed)
        for some, seed in ((rows, 1), (rows[::-1], 1), (rows, 2))
    )
    assert first == turned != other


def test_models_that_met_different_problems_are_not_compared():
    with pytest.raises(DataError, match="not given the same problems"):
        summarised([attempt(0, "4")], [attempt(1, "9", model="trained")])
