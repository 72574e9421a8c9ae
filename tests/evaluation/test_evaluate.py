"""Predictions in, figures out: hand-computed cases, invariances, and predictions that must be refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.evaluate_at_full_size import world
from socrates.core.errors import DataError
from socrates.core.files import json_text, write_json, write_table
from socrates.core.params import flat, load
from socrates.evaluation import effects, groups, individual, intervals, references
from socrates.evaluation.cells import KEY
from socrates.evaluation.evaluate import evaluate
from socrates.evaluation.metrics import ANSWER_METRICS, METRICS, cell_scores
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictions import check_same, read_predictions
from socrates.evaluation.predictors import PREDICTORS
from socrates.evaluation.scoring import estimates, perfect_prediction, score, tempered_predictor
from socrates.evaluation.summary import KEYS, counts, figures_of_the_rest
from socrates.prediction.params import Predict
from socrates.reporting.sections import HEADLINE
from socrates.survey.marginals import train_marginals
from socrates.survey.scales import scale, thin_scale
from socrates.survey.tables import CELL, DEMOGRAPHICS, PREDICTIONS
from stages import evaluate as stage
from tests.tiny import ROOT

PARAMS = Evaluate(
    min_cell_size=2, constant_cells="exclude", draws=4, temperature=0.6, top_p=0.9, equivalence_margin=0.01,
    bootstrap=100,
    min_group_size=10, seed=1,
)  # fmt: skip
NOBODY = dict.fromkeys(DEMOGRAPHICS)


def table(cells):
    """Cells as (scale, answers, probabilities of each respondent)."""
    rows = [
        {"study_id": study, "condition_num": condition, "task_num": task, "scale": scale, "response": answer,
         "probabilities": [float(x) for x in p], "scale_rule": "range", "allowed_mass": 1.0, "participant": i,
         "demographic": NOBODY}
        for (study, condition, task), (scale, answers, ps) in cells.items()
        for i, (answer, p) in enumerate(zip(answers, ps, strict=True))
    ]  # fmt: skip
    return pl.DataFrame([row | {"sample_id": i} for i, row in enumerate(rows)], PREDICTIONS, orient="row")


SMALL = table(
    {
        ("a", 0, 0): ("1..3", [1, 3], [[1, 0, 0], [0, 0.5, 0.5]]),
        ("a", 1, 0): ("1..3", [3, 3, 2], [[0, 0, 1]] * 3),
        ("b", 0, 0): ("0..10/5", [0, 10], [[0, 1, 0], [0, 1, 0]]),
    }
)


def read(rows):
    return read_predictions(rows, Path("predictions.parquet"), "base")


def run(predictions, truth=None, params=PARAMS, **more):
    train = predictions["base"].select("study_id", "scale", "response")
    paths = {name: Path(name) for name in predictions}
    return evaluate(predictions, paths, train, truth, {name: {} for name in predictions}, params, **more)


def run_alike(rows, **more):
    """The evaluation of two predictors that say the same."""
    return run({"adapter": rows, "base": rows}, **more)


def test_cell_distances_by_hand():
    survey, model = read(SMALL)
    found = cell_scores(model.cells(survey), survey, PARAMS)
    # a0: people 1/2, 0, 1/2 and prediction 1/2, 1/4, 1/4: the middle gap differs by 1/4 of a point... of 2.
    # a1: people 2 once and 3 twice, range 1; prediction all 3. b0: 5 away from everyone on a range of 10.
    np.testing.assert_allclose(found["wasserstein"], [0.125, 1 / 3, 0.5], atol=1e-7)
    np.testing.assert_allclose(found["stated.wasserstein"], [0.125, 1 / 6, 0.5], atol=1e-7)
    alone = run({"base": SMALL}, best_baseline="uniform").metrics
    assert alone["base"]["wasserstein"] == pytest.approx(((0.125 + 1 / 3) / 2 + 0.5) / 2, abs=1e-6)
    assert not any("adapter" in key for key in alone)
    beside = run_alike(SMALL, best_baseline="uniform").metrics
    for pair in ("uniform", "train_marginal", "best_baseline"):  # of a base model where nothing was trained
        one, other = alone[f"base_minus_{pair}"], beside[f"adapter_minus_{pair}"]
        assert one["wasserstein"] == other["wasserstein"] and one["crps"] == other["crps"]


def test_equal_predictors_have_equal_figures_and_no_difference():
    found = run_alike(SMALL).metrics
    assert found["adapter"] == found["base"]
    difference = found["adapter_minus_base"]["drawn"]
    assert [difference[f"wasserstein{end}"] for end in ("", "_p", "_sign")] == [0, 1, 0]


def test_individual_scores_by_hand():
    survey, model = read(SMALL)
    found = all_answers(survey, model)
    np.testing.assert_allclose(found["accuracy"], [1, 0.75, 1, 1, 0.5, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(found["mae"], [0, 0.5, 0, 0, 0.5, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(found["exact_match"], [1, 0.5, 1, 1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["within_one"], [1, 1, 1, 1, 1, 1, 1], atol=1e-6)
    assert found["log_likelihood"][1] == pytest.approx(np.log(0.5))
    assert found["log_likelihood"][4] == pytest.approx(np.log(1e-6))


def all_answers(survey, model):
    return individual.answer_scores(survey, model, ANSWER_METRICS)


def one_scale():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 2000)
    answers = (rng.random((2000, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1) + 1
    return read(table({("a", 0, 0): ("1..5", answers.tolist(), p.tolist())}))


def test_drawn_answers_agree_with_their_expectation_and_accuracy_is_that():
    survey, model = one_scale()
    tempered = tempered_predictor(model, PARAMS)
    shares = individual.draw_answers(survey, tempered, 50, np.random.default_rng(0))
    np.testing.assert_allclose(np.mean(shares, axis=0), tempered.cells(survey), atol=0.004)
    few, many = (score(survey, model, PARAMS.model_copy(update={"draws": n})).studies for n in (2, 5))
    assert few["drawn.accuracy"] == many["drawn.accuracy"]
    uniform = references.uniform(survey)
    assert tempered_predictor(uniform, PARAMS).blocks[0].tolist() == [[0.2] * 5]
    guess = score(survey, uniform, PARAMS).studies
    assert guess["drawn.accuracy"] == guess["accuracy"]  # a guess is drawn as it is


def test_a_persona_is_shuffled_among_those_who_read_the_same_text():
    """One cell with two texts; the model reads the text alone, so that personas are worth nothing."""
    says = {0: [0.9, 0.1], 1: [0.1, 0.9]}
    answers = [1] * 9 + [2] + [1] + [2] * 9
    read = [0] * 10 + [1] * 10
    cells = table({(study, 0, 0): ("1..2", answers, [says[text] for text in read]) for study in "abc"})
    texts = cells.select(*KEY, text=pl.Series(read * 3, dtype=pl.Int64))
    mixed, apart = (run_alike(cells, texts=known).metrics for known in (None, texts))
    for metrics, worth in ((mixed, pytest.approx(0.9248, abs=1e-3)), (apart, pytest.approx(0, abs=1e-6))):
        assert metrics["adapter"]["persona"]["log_shuffled"] == worth
        assert metrics["reading"]["another_persona"]["log"] == worth
    assert apart["adapter"]["persona"]["log_mean"] == pytest.approx(0, abs=1e-6)
    assert apart["adapter"]["wasserstein"] == mixed["adapter"]["wasserstein"]


def test_temperature_sharpens_and_top_p_cuts():
    p = np.array([[0.5, 0.3, 0.15, 0.05]])
    tempered = individual.apply_temperature_top_p
    np.testing.assert_allclose(tempered(p, 1.0, 1.0), p)
    np.testing.assert_allclose(tempered(p, 1.0, 0.9), [[0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]])
    np.testing.assert_allclose(tempered(p, 0.5, 1.0), p**2 / (p**2).sum())
    np.testing.assert_allclose(tempered(p, 1.0, 0.4), [[1, 0, 0, 0]])


def test_answers_between_the_options_go_to_the_nearest_and_are_counted():
    rows = table({("a", 0, 0): ("0..100/10", [14, 16, 15], [[1.0, *[0.0] * 10]] * 3)})
    survey, _ = read(rows)
    assert survey.off_grid == 3
    np.testing.assert_allclose(survey.human[0, :3], [0, 2 / 3, 1 / 3])


def test_a_cell_with_two_scales_is_scored_on_their_union():
    rows = pl.concat(
        [table({("a", 0, 0): ("1..2", [1, 2], [[0.5, 0.5]] * 2)}),
         table({("a", 0, 0): ("1..5", [5, 5], [[0, 0, 0, 0, 1]] * 2)}).with_columns(pl.col("sample_id") + 10)]
    )  # fmt: skip
    survey, model = read(rows)
    assert len(survey.cells) == 1
    assert len(survey.blocks) == 2
    np.testing.assert_allclose(model.cells(survey), survey.human)
    np.testing.assert_allclose(references.uniform(survey).cells(survey)[0], [0.35, 0.35, 0.1, 0.1, 0.1])
    assert counts(survey, PARAMS, {}, [])["cells_mixed_scale"] == 1


@pytest.fixture(scope="module")
def planted():
    return world(6, 3, 2, 40, {"adapter": 0.03, "base": 0.25}, seed=2)


@pytest.fixture(scope="module")
def result(planted):
    return run(*planted)


def test_the_order_of_predictors_is_as_planted(result):
    w = {name: result.metrics[name]["wasserstein"] for name in PREDICTORS if name in result.metrics}
    assert w["empirical_best"] < w["adapter"] < min(w["base"], w["train_marginal"])
    assert w["pooled"] < w["uniform"]
    change = dict(flat(result.metrics["adapter_minus_base"]))
    assert change["wasserstein_low"] < change["wasserstein"] < 0
    assert min(change["effects.r"], change["pearson"]) > 0


def test_every_figure_has_an_interval_but_gaps_of_groups(result):
    without = ("groups.accuracy_gap", "groups.accuracy_gap_chance")
    found = dict(flat(result.metrics["adapter"]))
    figures = {key for key, value in found.items() if key in METRICS and value is not None}
    assert {*HEADLINE, "groups.accuracy_gap"} <= figures
    assert {key for key in figures if f"{key}_low" not in found} == set(without)
    change = dict(flat(result.metrics["adapter_minus_base"]))
    assert {"wasserstein", "accuracy", "effects.r"} <= set(change)
    ends = ("_low", "_high", "_p", "_sign")
    assert all(f"{key}{end}" in change for key in change if not key.endswith(ends) for end in ends)


def test_row_order_and_a_second_run_change_no_byte(planted, result):
    predictions, truth = planted
    shuffled = {
        name: t.sample(fraction=1, shuffle=True, seed=i) for i, (name, t) in enumerate(predictions.items())
    }
    again = run(shuffled, truth)
    assert json_text(again.metrics) == json_text(result.metrics)
    for name, part in result.tables.items():
        assert part.write_csv(float_precision=6) == again.tables[name].write_csv(float_precision=6), name


def test_a_predictor_that_does_not_move_reports_no_effects(result):
    known = result.metrics["uniform"]["effects"]
    assert (known["skill"], known["captured_gain"]) == (0, 0) and not {"r", "slope"} & set(known)
    assert result.metrics["adapter"]["effects"]["r"] > 0


def test_effects_by_hand():
    cells = {
        ("a", 0, 0): ("1..3", [1] * 20, [[1, 0, 0]] * 20),
        ("a", 1, 0): ("1..3", [3] * 20, [[0, 1, 0]] * 20),
        ("b", 0, 0): ("1..3", [1, 2, 3], [[1, 0, 0]] * 3),  # one condition: nothing to compare
    }
    survey, model = read(table(cells))
    found = effects.condition_effects(survey, model.cells(survey), 2)
    np.testing.assert_allclose(found.human, [-0.5, 0.5])
    np.testing.assert_allclose(found.predicted, [-0.25, 0.25])
    outcome = {key: figure.value for key, figure in effects.effect_statistics(found).items()}
    expected = {"r": 1, "slope": 2, "size_ratio": 0.5, "sign_accuracy_sure": 1}
    assert {key: outcome[key] for key in expected} == pytest.approx(expected)
    counted = counts(survey, PARAMS, {}, [])["effects"]
    assert counted == {"conditions": 2, "questions": 1, "sure_pairs": 1}


def test_the_error_of_people_counts_people_and_pairs_those_who_answer_twice():
    rng = np.random.default_rng(3)
    level, extra = rng.integers(1, 7, 200), rng.integers(0, 3, 200)
    cells = {("a", c, 0): ("1..9", (level + c * extra).tolist(), [np.eye(9)[0]] * 200) for c in (0, 1)}

    def errors(rows):
        survey, _ = read(rows.sort(*CELL, "sample_id"))
        return effects.human_errors(survey, np.zeros(2, dtype=np.int64))

    once = table(cells)
    paired, people = errors(once)
    assert np.hypot(*paired) == pytest.approx((extra / 8).std(ddof=1) / np.sqrt(200))
    assert people.tolist() == [200, 200]
    apart, _ = errors(once.with_columns(participant=pl.int_range(pl.len())))  # other people in each condition
    by_hand = [(level + c * extra).std(ddof=1) / 8 / np.sqrt(200) for c in (0, 1)]
    assert apart == pytest.approx(by_hand)
    twice = pl.concat([once, once.with_columns(pl.col("sample_id") + 400)])
    again, people = errors(twice.with_columns(participant=pl.col("sample_id") % 400))
    assert again == pytest.approx(apart) and people.tolist() == [200, 200]


def sampled_effects(n, error, rng, studies=400):
    """Effects of studies with two questions of three conditions; ``error`` sd of the predictions' own error."""
    group, true = np.repeat(np.arange(2 * studies), 3), rng.normal(0, 0.1, 6 * studies)
    human = true + rng.normal(0, 0.3 / np.sqrt(n), len(true))
    centred = [intervals.centred(group, v) for v in (human, true + rng.normal(0, error, len(true)))]
    se = np.full(len(true), 0.3 / np.sqrt(n))
    return effects.Effects(np.arange(len(true)), group, group // 2, *centred, se, np.full(len(true), n))


def test_what_a_prediction_is_worth_is_what_as_many_people_are():
    rng = np.random.default_rng(4)
    found = effects.effect_statistics(sampled_effects(30, 0.3 / np.sqrt(20), rng))  # the error of 20 people
    value = {key: figure.value for key, figure in found.items()}
    slope = 0.1**2 / (0.1**2 + 0.3**2 / 20)  # noise in the prediction: regression to the mean
    left = (1 - slope) ** 2 * 0.1**2 + slope**2 * 0.3**2 / 20
    assert value["respondents"] == pytest.approx(0.3**2 / left, rel=0.1)
    assert value["slope"] == pytest.approx(slope, rel=0.05)
    assert value["skill"] == pytest.approx(1 - (0.3**2 / 20) / 0.1**2, abs=0.05)
    assert value["reliability"] == pytest.approx(0.1**2 / (0.1**2 + 0.3**2 / 30), abs=0.03)
    assert value["r_disattenuated"] == pytest.approx(np.sqrt(slope), abs=0.03)
    interval = intervals.confidence_interval(found["respondents"], 0, rng)
    assert interval.low < 0.3**2 / left < interval.high
    truth = effects.effect_statistics(sampled_effects(30, 0, rng))
    assert truth["skill"].value == pytest.approx(1, abs=0.01) and truth["respondents"].value > 1000
    assert truth["sign_accuracy_sure"].value > 0.99 and 0.7 < truth["captured_gain"].value < 0.9


def test_a_cell_of_n_drawn_people_is_worth_n_people():
    rng, p = np.random.default_rng(1), np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    cells = {
        (f"s{i}", c, 0): ("1..5", (rng.choice(5, 40, p=p) + 1).tolist(), [rng.multinomial(15, p) / 15] * 40)
        for i in range(300)
        for c in (0, 1)
    }
    survey, model = read(table(cells))
    worth = estimates(survey, score(survey, model, PARAMS), PARAMS)["cell_respondents"]
    assert worth.value == pytest.approx(15, rel=0.1) and worth.low < 15 < worth.high


def test_planted_truth_must_cover_the_answers(planted):
    predictions, truth = planted
    with pytest.raises(DataError, match="person truth of study s0000, sample_id 0: its scale is None"):
        run(predictions, truth.filter(pl.col("study_id") != "s0000"))


def test_what_is_read_is_found_and_shared_out(planted):
    predictions, truth = planted
    guess = pl.col("probabilities").list.eval(pl.element() * 0 + 1 / pl.len()).cast(pl.List(pl.Float32))
    probes = {
        "no_scenario": predictions["adapter"].filter(pl.col("sample_id") % 2 == 0).with_columns(guess),
        "reversed_options": predictions["adapter"],
        "no_persona": truth.join(predictions["adapter"].drop("probabilities", "scale"), on=KEY).select(
            pl.col(name).cast(kind) for name, kind in PREDICTIONS.items()
        ),
    }
    found = run(predictions, truth, probes=probes | {"of_nobody": predictions["adapter"].clear()})
    gains = found.metrics["reading"]
    assert set(gains) == {"another_persona", *probes}  # and none of what nobody could be asked
    assert gains["no_scenario"]["log_low"] > 0 and gains["no_scenario"]["crps_low"] > 0
    assert 0 < gains["no_scenario"]["log_share"] < 1
    assert gains["no_scenario"]["answers"] < len(predictions["adapter"])
    assert gains["reversed_options"]["log"] == gains["reversed_options"]["log_share"] == 0
    assert gains["no_persona"]["log"] < 0 and gains["no_persona"]["log_share"] is None  # the truth is better
    shuffled = [found.metrics[name]["persona"]["log_shuffled"] for name in ("adapter", "planted")]
    assert gains["another_persona"]["log"] == pytest.approx(shuffled[0], abs=1e-6)
    assert gains["another_persona"]["log_share"] == pytest.approx(shuffled[0] / shuffled[1], abs=1e-4)


def test_the_truth_is_best_in_every_score(result):
    found = {name: dict(flat(part)) for name, part in result.metrics.items() if name in PREDICTORS}
    best = found.pop("planted")
    for name in ("empirical_best", "pooled"):  # they have seen the answers
        del found[name]
    scores = ("wasserstein", "stated.wasserstein", "cramer", "crps", "log_likelihood", "rmse")
    for key in (*scores, "accuracy", "drawn.accuracy", "drawn.wasserstein", "effects.r"):
        sign = 1 if METRICS[key].higher_is_better else -1
        assert all(sign * best[key] > sign * (part.get(key) or -sign) for part in found.values()), key
    assert best["pit_deviation"] < 0.05 and abs(best["entropy_ratio"] - 1) < 0.1
    assert best["cramer_low"] < 0 < best["cramer_high"]
    assert best["persona.log_shuffled"] > 0  # a gain is no score: who exaggerates personas can gain more


def test_every_headline_figure_is_given_without_near_duplicates(planted, result):
    predictions, truth = planted
    flagged = predictions["base"].filter(study_id="s0001").select(CELL).unique()
    found = run(predictions, truth, best_baseline="base", flagged=flagged).metrics
    rest = {name: table.filter(pl.col("study_id") != "s0001") for name, table in predictions.items()}
    train = predictions["base"].select("study_id", "scale", "response")
    paths, nothing = {name: Path(name) for name in rest}, {name: {} for name in rest}
    alone = evaluate(rest, paths, train, truth, nothing, PARAMS, "base").metrics
    assert found["counts"]["cells_near_duplicate"] == flagged.height
    rest = found["without_near_duplicates"]
    assert rest == figures_of_the_rest(alone)
    assert rest["adapter.wasserstein_low"] == alone["adapter"]["wasserstein_low"]
    assert found["adapter"] == result.metrics["adapter"]


def test_train_marginal_knows_the_length_and_counts_what_it_does_not_know():
    survey, _ = read(SMALL)
    train = pl.DataFrame({"study_id": ["x", "x", "y"], "scale": ["5..7"] * 3, "response": [5, 7, 7]})
    marginals = train_marginals(train, 3)
    np.testing.assert_allclose(references.train_marginal(survey, marginals).blocks[0], [[0.25, 0, 0.75]])
    assert counts(survey, PARAMS, {}, marginals)["cells_without_train_scale"] == 0
    longer = train_marginals(train.with_columns(pl.lit("1..60000000").alias("scale")), 3)
    assert counts(survey, PARAMS, {}, longer)["cells_without_train_scale"] == 3
    unknown, uniform = references.train_marginal(survey, longer), references.uniform(survey)
    np.testing.assert_array_equal(unknown.cells(survey), uniform.cells(survey))
    long = scale("0..5000")  # on the options that are predicted
    train = pl.DataFrame({"study_id": "x", "scale": long.notation, "response": [0, 5000, 5000]})
    (marginal,) = train_marginals(train, 101).values()
    assert len(marginal) == len(thin_scale(long, 101).options)
    assert (marginal[0], marginal[-1]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_pooled_merges_conditions():
    survey, _ = read(SMALL)
    np.testing.assert_allclose(references.pooled(survey).cells(survey)[0, :3], [0.2, 0.2, 0.6])


def test_what_a_perfect_predictor_scores_is_known_without_the_truth(planted):
    survey, _ = read(planted[0]["base"])
    truth = references.planted(survey, planted[1]).cells(survey)
    rng = np.random.default_rng(0)
    people = [rng.multinomial(survey.respondents, truth) / survey.respondents[:, None] for _ in range(40)]
    estimate = perfect_prediction(survey, PARAMS.model_copy(update={"draws": 40})).cells
    for key in ("wasserstein", "stated.wasserstein", "entropy_ratio"):
        real = [cell_scores(truth, replace(survey, human=human), PARAMS)[key] for human in people]
        assert np.nanmean(estimate[key]) == pytest.approx(np.nanmean(real), rel=0.1), key


def test_the_probability_integral_transform_by_hand():
    # answer 3 of p = (0.25, 0.25, 0.5): evenly over [0.5, 1], so over the upper five bins
    below, exact = np.array([0.5]), np.array([0.5])
    bins = individual.pit(below, exact, np.array([0]), 1)
    np.testing.assert_allclose(bins, [[0] * 5 + [0.2] * 5])
    assert individual.pit_deviation(bins[0]) == pytest.approx(0.5)
    impossible = individual.pit(np.zeros(1), np.zeros(1), np.array([0]), 1)  # at one end
    assert impossible.sum() == 1 and impossible.max() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": [0.5, 0.2, 0.2]}, r"sample_id 0: its probabilities sum to 0\.9, not to 1"),
        ({"probabilities": [float("nan"), 0.5, 0.5]}, "sample_id 0: a probability is NaN or infinite"),
        ({"probabilities": [None, 0.5, 0.5]}, "sample_id 0: a probability is NaN or infinite"),
        ({"probabilities": [1.5, -0.5, 0.0]}, "sample_id 0: a probability is negative"),
        ({"probabilities": [0.5, 0.5]}, "sample_id 0: as many probabilities as its scale has options"),
        ({"response": 4}, r"sample_id 0: its response 4 is outside its scale 1\.\.3"),
        ({"scale": None}, "sample_id 0: scale is null"),
        ({"scale": "often"}, "scale 'often'"),
        ({"sample_id": 1}, "sample_id 1: appears twice"),
        ({"allowed_mass": 1.5}, "allowed_mass is not between 0 and 1"),
        ({"allowed_mass": float("nan")}, "allowed_mass is not between 0 and 1"),
        ({"allowed_mass": None}, "sample_id 0: allowed_mass is null"),
    ],
)
def test_bad_rows_stop_with_their_name(change, message):
    rows = SMALL.to_dicts()
    rows[0] |= change
    with pytest.raises(DataError, match=message):
        read(pl.DataFrame(rows, PREDICTIONS, orient="row"))


def test_an_empty_table_stops():
    with pytest.raises(DataError, match="no rows"):
        read(SMALL.clear())


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            SMALL,
            SMALL.filter(pl.col("study_id") == "a"),
            "second: row study b, condition .*, task .*, sample_id 5 is missing",
        ),
        (
            SMALL.filter(pl.col("sample_id") != 3),
            SMALL,
            "first: row study a, condition .*, task .*, sample_id 3 is missing",
        ),
        (SMALL, SMALL.with_columns(response=2), "sample_id 0 has response 2, but 1 in first"),
        (SMALL, SMALL.with_columns(condition_num=7), "sample_id 0 has condition_num 7, but 0 in first"),
    ],
)
def test_models_must_have_predicted_the_same(first, second, message):
    (one, _), (other, _) = read(first), read(second.cast(PREDICTIONS))
    with pytest.raises(DataError, match=message):
        check_same(one, Path("first"), other, Path("second"))


def test_small_and_constant_cells_are_counted_not_scored():
    rows = table(
        {
            ("a", 0, 0): ("1..3", [1, 3], [[0.5, 0, 0.5]] * 2),
            ("a", 1, 0): ("1..3", [2, 2], [[0, 0, 1]] * 2),
            ("a", 2, 0): ("1..3", [2], [[0, 0, 1]]),
        }
    )
    found = run_alike(rows)
    assert found.metrics["counts"]["cells_excluded"] == {"too_small": 1, "constant": 1}
    assert found.metrics["base"]["wasserstein"] == pytest.approx(0)
    assert found.metrics["base"]["stated"]["wasserstein"] == pytest.approx(0.25)
    level = run_alike(rows, params=PARAMS.model_copy(update={"constant_cells": "one_level"}))
    assert level.metrics["base"]["wasserstein"] == pytest.approx(0.5)
    # Of people in small cells nothing but their number is said.
    small = found.tables["cells"].row(2, named=True)
    assert (small["respondents"], small["human_low"], small["human_high"]) == (1, None, None)
    scored = found.tables["cell_scores"].filter(pl.col("condition_num") == 2)
    assert {key for key in scored.columns if scored[key].drop_nulls().len()} <= {
        *CELL,
        "respondents",
        "predictor",
    }


def test_groups_find_the_badly_served():
    n = 40
    people = [NOBODY | {"gender": ("Male", "Female")[i % 2], "age": ("25", "70")[i // 20]} for i in range(n)]
    right = [[0, 0, 1] if i % 2 else [1, 0, 0] for i in range(n)]  # everyone answers 3: right for women only
    rows = table({("a", 0, 0): ("1..3", [3] * n, right)}).with_columns(
        pl.Series("demographic", people, PREDICTIONS["demographic"])
    )
    survey, model = read(rows)
    accuracy = all_answers(survey, model)["accuracy"]
    found = groups.group_gaps(survey, "base", accuracy, PARAMS)
    gap = {row["attribute"]: row for row in found.iter_rows(named=True)}
    assert gap["gender"]["accuracy_gap"] == pytest.approx(1)
    assert gap["gender"]["chance"] < 0.4 and gap["gender"]["p"] == pytest.approx(1 / 101)
    assert gap["age"]["accuracy_gap"] == pytest.approx(0) and gap["age"]["p"] > 0.5
    known = groups.group_codes(survey, PARAMS.min_group_size)
    assert [names for names, _ in known.values()] == [["18-29", "60 and over"], ["Female", "Male"]]
    nobody = PARAMS.model_copy(update={"min_group_size": 30})
    assert groups.group_gaps(survey, "base", accuracy, nobody).is_empty()


def test_a_group_that_sits_in_a_hard_study_is_not_badly_served_by_that():
    people = [NOBODY | {"gender": "Female" if i < 10 or i >= 38 else "Male"} for i in range(40)]
    cells = {
        ("a", 0, 0): ("1..3", [3] * 20, [[0, 0, 1]] * 20),
        ("b", 0, 0): ("1..3", [3] * 20, [[1, 0, 0]] * 20),
    }
    rows = table(cells).with_columns(pl.Series("demographic", people, PREDICTIONS["demographic"]))
    survey, model = read(rows)
    found = groups.group_gaps(survey, "base", all_answers(survey, model)["accuracy"], PARAMS)
    assert found["accuracy_gap"][0] == pytest.approx(0) and found["p"][0] == 1


def test_the_papers_figures_use_the_same_keys():
    paper = json.loads((ROOT / "metrics" / "paper.json").read_text(encoding="utf-8"))
    keys = {key for name in ("adapter", "base", "uniform", "empirical_best") for key, _ in flat(paper[name])}
    assert {key.removesuffix("_low").removesuffix("_high") for key in keys} <= set(METRICS)


def test_the_stage_writes_its_files_and_prints_one_line(planted, tmp_path, monkeypatch, capsys):
    predictions, truth = planted
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("bootstrap: 1000", "bootstrap: 50")
    )
    probes = {f"probes/{name}": predictions["adapter"] for name in load(Predict).probes}
    for name, rows in (predictions | probes).items():
        folder = tmp_path / "data" / "predictions" / name
        write_table(folder / "predictions.parquet", rows)
        write_json(folder / "manifest.json", {"rows": len(rows), "excluded": {"too_long": 3}})
    write_table(tmp_path / "data" / "raw" / "person_truth.parquet", truth)
    write_table(tmp_path / "data" / "splits" / "train.parquet", predictions["base"])
    test = predictions["base"].with_columns(
        near_duplicate=pl.col("study_id") == "s0003", stimuli=pl.lit("text")
    )
    write_table(tmp_path / "data" / "splits" / "test.parquet", test)
    stage.main()
    printed = capsys.readouterr().out
    assert printed.startswith("evaluate: W adapter 0.")
    assert printed.count("\n") == 1
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    lost = metrics["counts"]["answers_excluded"]
    assert lost["adapter"] == lost["probe no_persona"] == {"too_long": 3}
    assert set(metrics["reading"]) == {"another_persona", *load(Predict).probes}
    shown = json.loads(Path("metrics/headline.json").read_text())
    everything = dict(flat(metrics))
    assert shown == {key: everything[key] for key in KEYS if key in everything}
    assert {"adapter.cramer", "without_near_duplicates.adapter.wasserstein"} <= set(shown)
    assert {path.stem for path in Path("metrics/tables").iterdir()} == {
        "cells", "cell_scores", "studies", "distributions", "effects", "group_gaps", "pit",
    }  # fmt: skip

    before = Path("metrics/evaluate.json").read_bytes()
    write_json(Path("data/predictions/base/manifest.json"), {"rows": 1})
    with pytest.raises(DataError, match="expected a count of rows per reason"):
        stage.main()
    assert Path("metrics/evaluate.json").read_bytes() == before
