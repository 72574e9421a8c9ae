"""What a drawn survey answer earns: closeness to the person, and its share in the group's fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.params.reward import Reward
from socrates.survey.rewards import People, closeness, fit_shares, stated
from socrates.survey.scales import Scale, scale
from socrates.training.respond import rewards

SEVEN = Scale(range(1, 8))
ENDS = People.of([1, 1, 7, 7], SEVEN)  # half at either end
answers = st.integers(1, 7)
groups = st.lists(answers, min_size=3, max_size=9)
END = 9


def fit(group: list[int], people: People) -> float:
    """Of the whole group: the mean of the shares."""
    return float(fit_shares(group, people).mean())


@pytest.mark.parametrize(
    ("answer", "response", "earned"), [(4, 4, 1.0), (1, 7, 0.0), (7, 4, 0.5), (2, 5, 0.5)]
)
def test_closeness_by_hand(answer: int, response: int, earned: float) -> None:
    assert closeness(answer, response, SEVEN) == earned


@given(answers, answers)
def test_closeness_is_symmetric_and_within_0_and_1(one: int, other: int) -> None:
    value = closeness(one, other, SEVEN)
    assert 0 <= value <= 1 and value == closeness(other, one, SEVEN)
    assert (value == 1) == (one == other)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("4", 4),
        ("7", 7),
        ("8", None),
        ("0", None),
        ("04", None),
        (" 4", None),
        ("4.", None),
        ("", None),
        ("٤", None),
    ],
)
def test_an_answer_is_an_allowed_integer_as_prompts_write_it(completion: str, answer: int | None) -> None:
    assert stated(completion, SEVEN) == answer


def test_negative_and_stepped_scales_are_read() -> None:
    assert stated("-2", scale("-3..3")) == -2 and stated("-0", scale("-3..3")) is None
    assert stated("250", scale("0..1000/50")) == 250 and stated("240", scale("0..1000/50")) is None


def test_the_fit_by_hand() -> None:
    # Distances to people 0.5, between different answers 4/6, between two people 0.5:
    # 1 - (0.5 - 1/3 - 0.25)
    assert math.isclose(fit([1, 1, 7, 7], ENDS), 1 + 1 / 12)
    assert math.isclose(fit([4, 4, 4, 4], ENDS), 1 - (0.5 - 0.25))
    assert math.isclose(fit([1, 1, 1, 1], ENDS), 1 - (0.5 - 0.25))
    assert math.isclose(fit([7], ENDS), 1 - (0.5 - 0.25))


def test_shares_by_hand() -> None:
    # [1, 1, 7]: fit 1 - (0.5 - (2/3)/2 - 0.25). Without a 1 the pair is 1 apart, without the 7 it is 0;
    # the mean distance to people never changes. 3 (S - S without i) = 2/3 (-1) and 4/3 ...
    whole = fit([1, 1, 7], ENDS)
    assert math.isclose(whole, 1 - (0.5 - 1 / 3 - 0.25))
    without_one, without_seven = fit([1, 7], ENDS), fit([1, 1], ENDS)
    expected = [whole + 3 * (whole - without) for without in (without_one, without_one, without_seven)]
    np.testing.assert_allclose(fit_shares([1, 1, 7], ENDS), expected)
    np.testing.assert_allclose(expected, [whole - 0.5, whole - 0.5, whole + 1.0])


@given(groups, groups)
def test_a_share_is_the_fit_and_what_leaving_the_answer_out_would_change(
    group: list[int], people: list[int]
) -> None:
    cell = People.of(people, SEVEN)
    shares, whole = fit_shares(group, cell), fit(group, cell)
    for place, share in enumerate(shares):
        rest = group[:place] + group[place + 1 :]
        assert math.isclose(share, whole + len(group) * (whole - fit(rest, cell)), abs_tol=1e-9)
    assert math.isclose(shares.mean(), whole, abs_tol=1e-9)


@given(st.lists(answers, min_size=4, max_size=12).filter(lambda people: len(set(people)) > 1))
def test_a_group_that_copies_the_people_fits_better_than_one_that_says_the_mode(people: list[int]) -> None:
    cell = People.of(people, SEVEN)
    mode = max(sorted(set(people)), key=people.count)
    assert fit(people, cell) > fit([mode] * len(people), cell)
    # Closeness alone has it the other way round: the median is nearest to people on average.
    median = sorted(people)[len(people) // 2]
    mean = [np.mean([closeness(a, b, SEVEN) for a in group for b in people]) for group in (people, [median])]
    assert mean[1] > mean[0] - 1e-12


def test_no_distribution_of_answers_earns_more_than_the_people_s_own() -> None:
    rng = np.random.default_rng(0)
    options = np.arange(1, 6)
    p = np.array([0.1, 0.0, 0.3, 0.2, 0.4])
    cell = People.of(np.repeat(options, (10 * p).astype(int)), Scale(range(1, 6)))

    def expected(q: np.ndarray) -> float:
        """Mean fit of groups of two over all pairs: exact, and proper as it stands."""
        return sum(q[a] * q[b] * fit([options[a], options[b]], cell) for a in range(5) for b in range(5))

    best = expected(p)
    assert math.isclose(best, 1.0, abs_tol=1e-9)
    for q in (*rng.dirichlet(np.ones(5), 50), *np.eye(5), np.full(5, 0.2)):
        assert expected(q) < best


def test_the_shares_give_no_push_where_the_policy_is_the_people() -> None:
    """Their policy gradient with the group's mean as baseline is that of the fit: 0 at the optimum."""
    options, p = np.array([1, 2, 3]), np.array([0.5, 0.25, 0.25])
    cell = People.of([1, 1, 2, 3], Scale(range(1, 4)))

    def push(q: np.ndarray) -> np.ndarray:
        gradient = np.zeros(3)
        for triple in np.ndindex(3, 3, 3):
            shares = fit_shares(options[list(triple)], cell)
            for place, advantage in zip(triple, shares - shares.mean(), strict=True):
                gradient += q[list(triple)].prod() * advantage * (np.eye(3)[place] - q)  # of a softmax
        return gradient

    np.testing.assert_allclose(push(p), 0, atol=1e-12)
    toward = push(np.array([0.8, 0.1, 0.1]))
    assert toward[0] < 0 < toward[1] and toward[2] > 0


def test_a_cell_where_all_agree_asks_for_agreement() -> None:
    cell = People.of([3, 3, 3], SEVEN)
    assert cell.apart == 0 and fit([3] * 3, cell) == 1.0 > fit([4] * 3, cell)
    with pytest.raises(ValueError, match="group without answers"):
        fit([], cell)


def earned(weights: Reward, texts: list[str], ended: bool = True) -> dict[str, list[float | None]]:
    functions = rewards(weights, [ENDS], generations=4, end=END)
    columns = {
        "row": ["study a, sample 1"] * len(texts),
        "response": [7] * len(texts),
        "scale": ["1..7"] * len(texts),
        "cell": [0] * len(texts),
        "completion_ids": [[1, END] if ended else [1, 1]] * len(texts),
    }
    return {one.__name__: one(prompts=texts, completions=texts, **columns) for one in functions}


def test_the_parts_are_weighted_and_groups_are_credited_apart() -> None:
    parts = earned(Reward(closeness=2.0, fit=3.0, invalid=-0.5), [*"1177", *"4444"])
    assert parts["closeness"] == [0.0, 0.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(parts["fit"], [3 * fit([1, 1, 7, 7], ENDS)] * 4 + [3 * fit([4] * 4, ENDS)] * 4)
    assert parts["invalid"] == [0.0] * 8


def test_an_invalid_answer_earns_the_penalty_and_is_no_part_of_its_group() -> None:
    parts = earned(Reward(closeness=1.0, fit=1.0, invalid=-0.5), ["1", "7", "x", "99"])
    assert parts["invalid"] == [0.0, 0.0, -0.5, -0.5] and parts["closeness"] == [0.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(parts["fit"], [fit([1, 7], ENDS)] * 2 + [0.0, 0.0])
    assert earned(Reward(closeness=1.0, fit=1.0, invalid=0.0), ["x"] * 4)["fit"] == [0.0] * 4


def test_an_answer_without_its_end_is_none() -> None:
    parts = earned(Reward(closeness=1.0, fit=0.0, invalid=-1.0), ["7"] * 4, ended=False)
    assert parts == {"closeness": [0.0] * 4, "invalid": [-1.0] * 4}
