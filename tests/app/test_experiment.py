"""A planned experiment: what a design may be, who answers, what the effects and their intervals are."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML
from scipy import stats
from typer.testing import CliRunner

from socrates.app import error_model
from socrates.app.design import Design, read_design
from socrates.app.error_model import ErrorModel, HeldOut, Unidentified, fit_errors, held_out, read_effects
from socrates.app.experiment import TABLES, ask_model, population_of, questions, run_experiment
from socrates.app.experiment_report import render, summary, write
from socrates.app.model_ref import ModelRef, TrainingSupport, tokens
from socrates.app.parse import parse_demographics
from socrates.app.planning import needed, power
from socrates.app.population import PersonaSample, from_file, from_training, memberships, rake
from socrates.cli.__main__ import app
from socrates.core.errors import DataError
from socrates.model.params import Prompt
from socrates.survey.scales import scale
from socrates.survey.tables import DEMOGRAPHICS
from tests import browser
from tests.browser import Browser

ROOT = Path(__file__).resolve().parents[2]


def known_error(slope=1.2, slope_sd=0.1, tau=0.0, sigma=0.05, rho=0.0, **fields):
    """A model whose error is known exactly: one point of the grid."""
    point = (np.array([v]) for v in (1.0, slope, slope_sd**2, tau, sigma, rho))
    found = {"studies": 21, "contrasts": 60, "covered": 0.9, "skill": (0.8, 0.7, 0.9), "largest": 0.5}
    return ErrorModel(*point, **(found | fields))


KNOWN = known_error()
PLAN = {
    "title": "A <b>toll</b>",
    "scenario": "You read about a plan to charge a toll.",
    "conditions": [
        {"name": "none", "control": True, "text": "It will be decided soon."},
        {"name": "jobs", "text": "It would create jobs."},
    ],
    "outcomes": [{"name": "support", "question": "Do you support it?", "scale": "1-5"}],
    "population": {"size": 40},
}
CROWDED = [*PLAN["conditions"], {"name": "tax", "text": "It would raise taxes."}]


def plan(**changes):
    return Design.model_validate({**PLAN, **changes})


def write_plan(folder, **changes):
    path = folder / "plan.yaml"
    with path.open("w") as file:
        YAML().dump({**PLAN, **changes}, file)
    return path


def people(count=40, **fields):
    fields = fields or {"gender": ["Female", "Male"]}
    rows = [{name: values[i % len(values)] for name, values in fields.items()} for i in range(count)]
    personas = [parse_demographics(row) for row in rows]
    return PersonaSample(personas, np.full(count, 1 / count), f"{count} people")


def ran(known=KNOWN, crowd=None, support=None, ask=None, **changes):
    """The plan, with changes, answered by ``answer`` or another model."""
    return run_experiment(plan(**changes), crowd or people(), ask or answer, known, support)


def answer(rows):
    """A model: men answer 1 point higher on 1..5, and the promise of jobs adds 1 point to everybody."""
    found = []
    for row in rows.iter_rows(named=True):
        options = list(scale(row["scale"]).options)
        index = 1 + ("Gender: Male" in row["persona"]) + ("create jobs" in row["stimuli"])
        found.append([float(i == min(index, len(options) - 1)) for i in range(len(options))])
    return rows.with_columns(probabilities=pl.Series(found), allowed_mass=pl.lit(0.99))


# the design
@pytest.mark.parametrize(("change", "message"), [
    ({"conditions": [{**c, "control": True} for c in PLAN["conditions"]]}, r"marked: 2 \(none, jobs\)"),
    ({"conditions": [{**c, "control": False} for c in PLAN["conditions"]]}, "marked: none"),
    ({"conditions": [*PLAN["conditions"], {"name": "jobs", "text": "x"}]}, "conditions: two are called 'jobs'"),
    ({"conditions": [PLAN["conditions"][0], {"name": "b", "text": "It will be  decided soon."}]}, "same text"),
    ({"conditions": [PLAN["conditions"][0], {"name": "b", "text": " "}]}, "'b' has no text"),
    ({"conditions": [PLAN["conditions"][0], {"name": "  ", "text": "x"}]}, r"conditions\.2\.name: "),
    ({"conditions": [PLAN["conditions"][0], {"name": 2024, "text": "x"}]}, r"got 2024\): put quotes"),
    ({"outcomes": [{"name": "a", "question": "  ", "scale": "1-7"}]}, r"outcomes\.1\.question: "),
    ({"population": {"size": 9, "quotas": {"gender": {"a": 0.5, "b": 0.5}, "Gender": {"a": 0.5, "b": 0.5}}}},
     "named twice"),
    ({"outcomes": [{"name": "a", "question": "Why?"}]}, "outcome 'a': .*scale: 1-7"),
    ({"outcome": []}, r"outcome: unknown key \(did you mean outcomes\?\)"),
    ({"population": {"sise": 4}}, r"population.sise: unknown key \(did you mean size\?\)"),
    ({"population": {}}, "either file"),
    ({"population": {"size": 10, "file": "a.csv"}}, "either file"),
    ({"population": {"size": 10, "quotas": {"gender": {"Female": 0.4, "Male": 0.4}}}}, "sum to 0.800"),
    ({"population": {"size": 10, "quotas": {"gendr": {"Female": 0.5, "Male": 0.5}}}}, "did you mean gender"),
    ({"respondents": 3}, "respondents: 3 leave 2 who answer under .*at least 20 in each condition"),
    ({"respondents": 100, "attrition": 0.7}, "leave 15 who answer"),
    ({"respondents": 100, "cluster_size": 51}, "cluster_size: 51 are more than the 50 who answer under"),
    ({"respondents": 59, "conditions": CROWDED}, "respondents: 59 leave 20 who answer"),
    ({"population": {"size": 10, "seed": -1}}, "population.seed"),
    ({"population": {"size": 10, "quotas": {"gender": {"Female": 51, "Male": 49}}}}, "a share is a part of 1"),
    ({"shares": {"none": 0.5}}, "shares: one for each of jobs, none"),
    ({"conditions": PLAN["conditions"][:1]}, "at least 2"),
    ({"outcomes": [{"name": "a", "question": "Why?", "scale": "7-1"}]}, "outcome 'a'"),
    ({"respondents": "many"}, "respondents: .*'many'"),
    ({"population": {"size": 1_000_000}}, "population.size"),
    ({"outcomes": ["Do you support it?"]}, r"outcomes\.1: give name: and question: in it, not a text"),
])  # fmt: skip
def test_a_design_that_cannot_be_used_is_refused_in_one_line_that_names_the_file(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as error:
        read_design(write_plan(tmp_path, **change))
    assert "plan.yaml" in str(error.value) and "\n" not in str(error.value)


def test_everyone_is_asked_everything_in_one_text():
    asked = questions(plan(), people(3))
    assert len(asked) == 2 * 1 * 3
    text = "You read about a plan to charge a toll. It will be decided soon. Do you"
    assert asked["stimuli"][0].startswith(text)
    assert asked["scale"].unique().to_list() == ["1..5"]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_can_be_read(path):
    design = read_design(path)
    if design.population.file:
        assert len(from_file(path.parent / design.population.file).personas) >= 30


# the population
def respondents(count=400, seed=1):
    """Training respondents whose gender and party go together, as rows of DEMOGRAPHICS."""
    rng = np.random.default_rng(seed)
    gender = np.where(rng.random(count) < 0.3, "Male", "Female")
    party = np.where((gender == "Male") & (rng.random(count) < 0.9), "Right", "Left")
    age = rng.integers(18, 90, count).astype(str)
    asked = {"gender": gender, "party_id": party, "age": age}
    return pl.DataFrame(dict.fromkeys(DEMOGRAPHICS) | asked, dict.fromkeys(DEMOGRAPHICS, pl.String))


def test_raking_meets_every_margin_and_keeps_who_belongs_together():
    table = respondents()
    quotas = {"gender": {"Male": 0.5, "Female": 0.5}, "age": {"18-44": 0.5, "45+": 0.5}}
    weights = rake(memberships(table, quotas), quotas)
    assert (weights > 0).all()
    male, young = (table["gender"] == "Male").to_numpy(), (table["age"].cast(int) < 45).to_numpy()
    assert weights[male].sum() == pytest.approx(0.5, abs=1e-3)
    assert weights[young].sum() == pytest.approx(0.5, abs=1e-3)
    right = (table["party_id"] == "Right").to_numpy()
    assert not weights[right & ~male].sum()  # no woman of the right was trained on, so that none appears
    inside = weights[right & male].sum() / weights[male].sum()
    assert inside == pytest.approx((right & male).sum() / male.sum(), abs=0.05)


def test_a_draw_consists_of_whole_respondents_and_meets_its_quotas():
    table = respondents()
    drawn = from_training(table, 200, {"gender": {"Male": 0.5, "Female": 0.5}}, seed=3)
    known = {tuple(sorted((k, v) for k, v in row.items() if v)) for row in table.iter_rows(named=True)}
    assert all(tuple(sorted(person.fields.items())) in known for person in drawn.personas)
    male = np.array([person.fields["gender"] == "Male" for person in drawn.personas])
    assert drawn.weights[male].sum() == pytest.approx(0.5)
    again = from_training(table, 200, {"gender": {"Male": 0.5, "Female": 0.5}}, seed=3)
    assert [p.text for p in again.personas] == [p.text for p in drawn.personas]


@pytest.mark.parametrize(("quotas", "message"), [
    ({"gender": {"Other": 0.1, "Female": 0.9}}, "no training respondent answered 'Other' .*Female, Male"),
    ({"income": {"Low": 0.5, "High": 0.5}}, "it was not asked"),
    ({"age": {"18-40": 0.5, "30+": 0.5}}, r"quotas\.age: '\d+' is in two categories; make them apart"),
    ({"gender": {"Male": 0.2, "Female": 0.8}, "party_id": {"Right": 0.9, "Left": 0.1}}, "cannot be met together"),
])  # fmt: skip
def test_quotas_that_no_one_fills_are_refused(quotas, message):
    with pytest.raises(DataError, match=message):
        rake(memberships(respondents(), quotas), quotas)


def test_far_quotas_and_left_out_respondents_are_told():
    unasked = pl.when(pl.int_range(pl.len()) < 50).then(None).otherwise("gender")
    table = respondents().with_columns(gender=unasked)
    quotas = {"party_id": {"Right": 0.9, "Left": 0.1}, "gender": {"Male": 0.9, "Female": 0.1}}
    drawn = from_training(table, 300, quotas, 1)
    told = " ".join(drawn.notes)
    count = f"which count as {drawn.effective_size:,.0f}:"
    assert "50 of 400" in told and count in told and drawn.effective_size < 0.5 * 300
    assert "gender was not asked of 50" in told
    gap = from_training(table, 300, {"age": {"18-40": 0.5, "61+": 0.5}}, 1).notes
    assert "no category for age 41, 42, 43, 44, 45 and 15 more" in " ".join(gap)


@pytest.mark.parametrize(("text", "message"), [
    ("age,gender\n", "a header and no rows"),
    ("age,gender\n30,Female\n", "one persona"),
    ("shoe\n1\n2\n", "no column is a demographic field .*; found shoe"),
    ("age;gender\n1;2\n2;3\n", "separated by semicolons; save it with commas"),
    ("age, Age\n1,2\n2,3\n", "are one demographic field; keep one"),
    ("", "is empty"),
    ("age\n" + "30\n" * 1_000_000, "1,000,000 personas; at most 500,000 with 2 questions each"),
    ("age,weight\n30,0\n31,0\n", "row 1: weight '0' is not a positive number"),
    ("age,weight\n30,none\n31,1\n", "row 1: weight 'none' is not a positive number"),
])  # fmt: skip
def test_a_file_that_is_no_population_is_refused(tmp_path, text, message):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(DataError, match=rf"people\.csv: .*{message}") as error:
        population_of(plan(population={"file": "people.csv"}), tmp_path, None)
    assert "\n" not in str(error.value)


def test_the_weights_of_a_file_count_and_repeated_people_are_told(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("Gender,age\nFemale,30\nMale,41\nFemale,30\n")
    assert "1 of 3 rows" in from_file(path).notes[0] and "repeat another" in from_file(path).notes[0]
    path.write_text("id,Gender,age\n1,Female,30\n2,Male,41\n")
    assert from_file(path).notes == ("Columns not read: id.",)
    assert from_file(path).personas[0].text == "Age: 30; Gender: Female"
    path.write_text("Gender,weight\nFemale,1e308\nMale,1e308\n")
    assert from_file(path).weights.tolist() == [0.5, 0.5]
    path.write_text("Gender,weight\nFemale,3\nMale,1\n")
    found = from_file(path)
    assert not found.notes
    assert found.weights.tolist() == [0.75, 0.25]
    assert ran(crowd=found).arms[0].answer.expected == pytest.approx(0.75 * 2 + 0.25 * 3)
    assert found.effective_size == pytest.approx(1 / (0.75**2 + 0.25**2))


# the known error
def effects_table(studies, slope=1.0, sigma=0.05, n=100, seed=1, tau=0.0, conditions=3, size=0.15, rho=0.0):
    """Held-out effects of a model whose error is known; two questions a study."""
    rng = np.random.default_rng(seed)
    rows = []
    for study in range(studies):
        b, shared = rng.normal(slope, tau), rng.normal(0, sigma, conditions) * np.sqrt(rho)
        for task in (1, 2):
            for condition in range(conditions):
                x, own = rng.normal(0, size), rng.normal(0, sigma) * np.sqrt(1 - rho)
                sample = b * x + shared[condition] + own + rng.normal(0, 0.3, n)
                se = float(sample.std(ddof=1) / np.sqrt(n))
                rows.append((f"s{study}", condition, task, "1..5", float(sample.mean()), se, n, x))
    values = ["human", "human_se", "respondents", "predicted"]
    return pl.DataFrame(rows, ["study_id", "condition_num", "task_num", "scale", *values], orient="row")


def test_the_likelihood_is_the_restricted_one_of_the_whole_covariance():
    RHO, SIGMA, TAU = error_model.RHO, error_model.SIGMA, error_model.TAU
    of = held_out(effects_table(3, tau=0.3, rho=0.5, n=20))
    fits = error_model.study_fits(of)
    logs, slope, variance = (part[..., 0] for part in error_model.restricted_likelihood(fits))
    study, question, condition, x, y, noise = of
    design, same = np.column_stack([question[:, None] == np.unique(question), x]), study[:, None] == study
    by_hand = []
    for t, s, r in ((3, 20, 1), (8, 25, 2), (0, 10, 0)):
        u = (1 - RHO[r]) * np.eye(len(x)) + RHO[r] * (same & (condition[:, None] == condition))
        covariance = np.diag(noise) + SIGMA[s] ** 2 * u + TAU[t] ** 2 * same * np.outer(x, x)
        w = np.linalg.inv(covariance)
        information = design.T @ w @ design
        beta = np.linalg.solve(information, design.T @ w @ y)
        rest = y - design @ beta
        determinants = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
        by_hand.append(-(determinants + rest @ w @ rest) / 2 - logs[t, s * len(RHO) + r])
        assert slope[t, s * len(RHO) + r] == pytest.approx(beta[-1])
        assert variance[t, s * len(RHO) + r] == pytest.approx(np.linalg.inv(information)[-1, -1])
    np.testing.assert_allclose(by_hand, by_hand[0], rtol=1e-6)  # equal but for a constant


def test_slope_and_errors_are_found_and_the_noise_of_people_is_taken_out():
    known = fit_errors(effects_table(80, slope=0.7, sigma=0.06, tau=0.3, n=30, seed=2, rho=0.6))
    planted = {"slope": (0.7, 0.1), "sigma": (0.06, 0.01), "tau": (0.3, 0.1), "rho": (0.6, 0.2)}
    for name, (true, margin) in planted.items():
        assert known.mean(getattr(known, name)) == pytest.approx(true, abs=margin), name
    assert known.covered == pytest.approx(0.9, abs=0.05)
    true, error = 0.15**2 * (0.7**2 + 0.3**2) + 0.06**2, 0.15**2 * 0.3**2 + 0.06**2
    assert known.skill[1] < 1 - error / true < known.skill[2]


@pytest.mark.parametrize(("size", "sigma", "n"), [(0.03, 0.025, 400), (0.15, 0.06, 20), (0.15, 0.06, 400)])
def test_ninety_percent_intervals_hold_nine_in_ten_effects_of_new_studies(size, sigma, n):
    """Fitted on 12 studies, tried on ones that are not among them; benchmarks/experiment_coverage.py has more."""
    rng, inside, checks = np.random.default_rng(7), [], []
    for seed in range(40):
        table = effects_table(12, 0.8, sigma, n, seed, tau=0.3, size=size)
        try:
            known = fit_errors(table)
        except Unidentified:
            continue
        checks.append(known.covered)
        for x in rng.normal(0, size * np.sqrt(2), 10):
            truth = rng.normal(0.8, 0.3) * x + rng.normal(0, sigma * np.sqrt(2))
            low, high = known.effect(x).interval()
            inside.append(low <= truth <= high)
    assert len(inside) > 200 and 0.85 <= np.mean(inside) <= 0.95
    assert 0.8 <= np.median(checks) <= 0.97


def test_the_self_check_collapses_when_the_error_is_left_out():
    of = held_out(effects_table(20, n=20))
    checks = error_model.study_checks(of, error_model.study_fits(of))
    of_slope = checks._replace(variance=checks.of_slope)
    assert error_model.self_check(checks) > 0.8 and error_model.self_check(of_slope) < 0.6


def test_leaving_a_study_out_is_fitting_the_others():
    of = held_out(effects_table(6))
    others = HeldOut(*(values[of.study != 2] for values in of))
    without = error_model.restricted_likelihood(error_model.study_fits(of), leave_one_out=True)
    others = error_model.restricted_likelihood(error_model.study_fits(others))
    for one, other in zip(without, others, strict=True):
        np.testing.assert_allclose(one[..., 2], other[..., 0])


def test_a_zero_predictor_has_no_skill():
    zero = pl.Series(np.random.default_rng(1).normal(0, 0.1, 240))
    low, high = fit_errors(effects_table(40, sigma=0.1).with_columns(predicted=zero)).skill[1:]
    assert low < 0.03 and high > -0.1


def test_scales_are_not_compared_with_each_other():
    table = effects_table(5, conditions=4)
    other = pl.when(pl.col("condition_num") < 2).then(pl.lit("1..5")).otherwise(pl.lit("1..7"))
    assert fit_errors(table.with_columns(scale=other)).contrasts == 5 * 2 * 2
    assert fit_errors(table).contrasts == 5 * 2 * 6


@pytest.mark.parametrize(("table", "message"), [
    (effects_table(1), "1 held-out study has two or more conditions to compare, and 5 or more are needed"),
    (effects_table(4), "4 held-out studies have"),
    (effects_table(5).with_columns(predicted=pl.lit(0.1)), "predicts no effect"),
    (effects_table(20, n=6), "the median condition of the held-out studies has 6 people, and 10 or more are needed"),
    (effects_table(20, n=12, size=0.03, sigma=0.025), "20 held-out studies, in which .* 0.08. of the scale"),
])  # fmt: skip
def test_an_error_that_cannot_be_known_is_refused_and_no_interval_is_printed(table, message):
    with pytest.raises(Unidentified, match=message) as error:
        fit_errors(table)
    result = ran(str(error.value))
    assert result.effects[0].effect is None and result.effects[0].predicted == pytest.approx(1)
    html = render(result)
    assert "They cannot tell it" in html and "90 % interval</" not in html and "is not known" in html
    assert summary(result)["effects"][0]["low_90"] is None


EFFECTS = "study_id,condition_num,task_num,human,human_se,respondents,adapter\n"
ROW = "s1,1,1,0.1,0.02,30,0.2\n"


@pytest.mark.parametrize(("text", "message"), [
    (EFFECTS + 2 * ROW, "effects.csv: study_id s1, condition_num 1, task_num 1 stands twice"),
    (EFFECTS + ROW.replace("0.1,", "3.1,"), "effects.csv: .* an effect that no scale allows"),
    (EFFECTS + ROW.replace("30", "0"), "effects.csv: .* no number of respondents"),
    (EFFECTS + ROW.replace("0.02", "small"), "effects.csv: .*small"),
    (EFFECTS.replace("adapter", "somebody"), "effects.csv: .*adapter"),
    (None, "effects.csv: not found"),
])  # fmt: skip
def test_a_bad_table_of_effects_is_one_clear_line_that_names_it(tmp_path, text, message):
    (tmp_path / "cells.csv").write_text("study_id,condition_num,task_num,scale\ns1,1,1,1..5\n")
    if text is not None:
        (tmp_path / "effects.csv").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_effects(tmp_path, "adapter")
    assert "\n" not in str(error.value)


# effects and power
def test_an_effect_and_its_intervals_by_hand():
    found = ran(respondents=200).effects[0]
    assert found.predicted == pytest.approx(1)  # one point of four, for everybody
    assert found.effect == pytest.approx(1.2)
    error = np.sqrt((0.1 * 0.25) ** 2 + 2 * 0.05**2)  # the personas agree: no sampling of theirs
    assert found.high_90 - found.effect == pytest.approx(4 * 1.645 * error, rel=1e-3)
    assert found.joint_low_90 == pytest.approx(found.low_90, abs=0.02)  # there is but one effect
    deviation = 0.125  # half the people one point of four higher
    assert found.worth == pytest.approx(2 * deviation**2 / error**2)


def test_no_interval_leaves_the_scale():
    found = ran(known_error(sigma=0.5)).effects[0]
    control = 2.5  # the mean of 2 and 3 on 1 to 5
    assert (found.low_90, found.high_90) == pytest.approx((1 - control, 5 - control))
    assert found.joint_low_90 == found.low_90


def test_personas_that_differ_widen_the_interval_and_more_of_them_narrow_it():
    def mixed(rows):
        """Jobs move men only."""
        still = pl.Series([[0.0, 1.0, 0.0, 0.0, 0.0]] * len(rows))
        women = pl.col("stimuli").str.contains("create jobs") & pl.col("persona").str.contains("Female")
        return answer(rows).with_columns(probabilities=pl.when(women).then(still).otherwise("probabilities"))

    def half(count):
        found = ran(crowd=people(count), ask=mixed).effects[0]
        return (found.high_90 - found.effect) / 4

    base = np.sqrt((0.1 * 0.125) ** 2 + 2 * 0.05**2)
    assert half(10) > half(1000) > 1.645 * base
    by_hand = np.sqrt(base**2 + 1.2**2 * 0.25**2 * 0.25 / 9)
    assert half(10) == pytest.approx(1.645 * by_hand, rel=1e-3)


def simulated(known, predicted, noise, arms, seed=5, studies=20_000):
    """Share of simulated studies of two arms that find the effect in its direction."""
    rng, free = np.random.default_rng(seed), sum(arms) - 2
    true = known.draw(np.array([predicted]), np.zeros((1, 1)), np.array([1]), studies, seed)[:, 0]
    t = rng.normal(true, np.sqrt(noise)) / np.sqrt(noise * rng.chisquare(free, studies) / free)
    return (np.sign(predicted) * t > stats.t.ppf(0.975, free)).mean()


@pytest.mark.parametrize("arms", [(20, 20), (60, 20), (300, 300)])
@pytest.mark.parametrize("predicted", [0.1, -0.3])
def test_power_and_respondents_are_those_of_simulated_studies(arms, predicted):
    known = known_error(0.8, 0.05, tau=0.2, sigma=0.02)
    noise = 0.2**2 / arms[0] + 0.2**2 / arms[1]
    effect = known.effect(predicted)
    found = simulated(known, predicted, noise, arms)
    assert power(effect, noise, sum(arms)) == pytest.approx(found, abs=0.02)
    if (total := needed(effect, noise, sum(arms), list(arms))) is not None:
        times = total / sum(arms)
        reached = simulated(known, predicted, noise / times, [n * times for n in arms])
        assert min(arms) * times >= 20 and reached > 0.78
        assert reached < 0.82 or min(arms) * times < 21


def test_a_power_that_no_number_of_respondents_gives_is_not_attainable():
    assert needed(known_error(sigma=0.5).effect(0.1), 0.01, 100, [50, 50]) is None
    sure = known_error(sigma=1e-3, slope_sd=1e-3).effect(0.4)
    assert needed(sure, 1e-9, 100, [25, 75]) == 80  # 20 in the smaller


def test_a_study_is_worth_less_by_attrition_clusters_and_unequal_arms():
    worse = {"attrition": 0.2, "cluster_size": 11, "icc": 0.1, "shares": {"none": 0.75, "jobs": 0.25}}
    design = plan(respondents=1000, **worse)
    assert [design.effective(name) for name in ("none", "jobs")] == pytest.approx([300, 100])
    known = known_error(0.3, sigma=0.01)
    weak, strong = (ran(known, respondents=1000, **how).effects[0] for how in (worse, {}))
    assert weak.power < strong.power and weak.respondents_needed > strong.respondents_needed
    part, whole = {"respondents": 1000, "attrition": 0.75}, {"respondents": 250}  # a quarter of n is n / 4
    power_of = [ran(known_error(0.3), **how).effects[0].power for how in (part, whole)]
    assert power_of[0] == pytest.approx(power_of[1])


THREE = [*CROWDED, {"name": "peace", "text": "It would create jobs and peace."}]


def test_joint_intervals_hold_all_effects_at_once_and_the_best_is_ranked():
    known = known_error(1.0, 0.05, tau=0.1, sigma=0.05, rho=0.5)
    outcomes = [{"name": n, "question": f"Do you support {n}?", "scale": "1-5", "better": b} for n, b in
                (("a", "higher"), ("b", "lower"))]  # fmt: skip
    result = ran(known, conditions=THREE, outcomes=outcomes)
    predicted = np.array([e.predicted for e in result.effects]) / 4
    true = known.draw(predicted, np.zeros((6, 6)), np.array([1, 2, 3] * 2), 20_000, seed=9)
    single, joint = (
        np.array([[getattr(e, f"{kind}{end}_90") / 4 for e in result.effects] for end in ("low", "high")])
        for kind in ("", "joint_")
    )
    inside = ((true > single[0]) & (true < single[1])).mean()
    assert inside == pytest.approx(0.9, abs=0.01)
    assert ((true > joint[0]) & (true < joint[1])).all(axis=1).mean() == pytest.approx(0.9, abs=0.01)
    a, b = result.choices
    means = np.column_stack([np.zeros(len(true)), true[:, :3]])
    wins = np.bincount(means.argmax(axis=1), minlength=4) / len(true)
    assert list(a.best.values()) == pytest.approx(wins, abs=0.015)
    assert a.condition in ("jobs", "peace") and b.condition in ("none", "tax")
    chosen = means[:, list(a.best).index(a.condition)]
    assert a.regret == pytest.approx(4 * (means.max(axis=1) - chosen).mean(), abs=0.008)  # points


def test_two_options_are_told_as_the_percentage_of_yes():
    question = "Would you? Only return 1 for 'Yes' or 2 for 'No', nothing else."

    def votes(rows):
        p = pl.when(pl.col("stimuli").str.contains("create jobs")).then(0.7).otherwise(0.4)
        return rows.with_columns(probabilities=pl.concat_list(p, 1 - p), allowed_mass=pl.lit(0.99))

    result = ran(known_error(1.0), ask=votes, outcomes=[{"name": "vote", "question": question}])
    row = summary(result)["effects"][0]
    assert row["unit"] == "% Yes" and row["predicted"] == pytest.approx(30)
    assert 0 < row["low_90"] < row["high_90"]
    assert [cell["mean"] for cell in summary(result)["cells"]] == pytest.approx([40, 70])
    assert result.choices[0].condition == "jobs"  # the higher percentage, not the higher answer


def test_an_order_of_rows_that_the_model_changes_does_not_mix_people_up():
    assert ran(ask=lambda rows: answer(rows).reverse()).effects == ran().effects


# warnings
READ = "You read about a plan to charge a toll. It will be decided soon. It would create jobs. Do you support it?"
RANGE = TrainingSupport(
    10_000, {"gender": ["Female", "Male"], "age": []}, {"age": (18, 60)}, ["1..5", "1..7"],
    {("", ""), ("no", "yes")}, tokens(f"{READ} Only return an integer from 1 to 5, nothing else."),
)  # fmt: skip
REVERSED = "Only return an integer from 1 to 5, where 1 means Yes and 5 means No."
NEW_ENDS = "Only return an integer from 1 to 5 (1=never)."


def remarks(result):
    return [text for texts in result.warnings.values() for text in texts]


@pytest.mark.parametrize(("change", "crowd", "words"), [
    ({"outcomes": [{"name": "a", "question": "Do you?", "scale": "0-10"}]}, {}, ["'a':", "scale 0..10"]),
    ({"outcomes": [{"name": "a", "question": f"So? {REVERSED}"}]}, {}, ["'a': answers: 1 for 'yes'", "other way"]),
    ({"outcomes": [{"name": "a", "question": f"So? {NEW_ENDS}"}]}, {}, ["1 for 'never' and 5 for nothing"]),
    ({"outcomes": [{"name": "a", "question": "Wie finden Sie diesen Plan der Stadt, und warum?", "scale": "1-5"}]},
     {}, ["words: 8 of"]),
    ({}, {"shoe": ["7"]}, ["100% of the population: shoe: not a field"]),
    ({}, {"age": ["old"], "gender": ["Male"]}, ["Age: old is outside the training data's 18 to 60"]),
    ({}, {"gender": ["Female", "Other"]}, ["50% of the population", "'Other'"]),
    ({}, {"income": ["Low"]}, ["100% of the population", "Income"]),
])  # fmt: skip
def test_what_lies_outside_the_training_range_is_said_plainly(change, crowd, words):
    assert ran(support=RANGE).warnings == {}
    found = ran(crowd=people(**crowd), support=RANGE, **change).warnings
    assert list(found) == ["Outside the training data"]
    assert any(all(word in text for word in words) for text in found["Outside the training data"]), found


def test_many_values_outside_the_training_range_are_counted():
    crowd = people(gender=[f"kind {i}" for i in range(9)])
    found = ran(crowd=crowd, support=RANGE).warnings["Outside the training data"]
    assert len(found) == 6 and found[-1] == "4 more such values, each of at most 10% of the population."


FIVE = "Do you? Only return an integer from 1 to 5."
NINE = "Only return an integer from 0 to 9."


@pytest.mark.parametrize(("outcome", "condition", "words"), [
    ({"question": FIVE, "scale": "1-4"}, "So.", "'a': the scenario states 1..5; answers are read on 1..4"),
    ({"question": f"{NINE} {FIVE}"}, "So.", "'a': the text states 0..9 too; answers are read on 1..5"),
    ({"question": FIVE}, NINE, "'a' under 'b': the text states 0..9 too"),
])  # fmt: skip
def test_scales_that_contradict_each_other_are_warned_of(outcome, condition, words):
    conditions = [PLAN["conditions"][0], {"name": "b", "text": condition}]
    found = ran(outcomes=[{"name": "a", **outcome}], conditions=conditions).warnings
    assert words in " ".join(found["Scales that contradict each other"])


def test_a_population_that_stands_for_few_is_warned_of():
    few = people(29)
    heavy = PersonaSample(few.personas, np.array([1e9, *[1.0] * 28]) / (1e9 + 28), "weighted")
    for crowd, words in ((few, "counts as 29 personas"), (heavy, "counts as 1 personas")):
        assert words in " ".join(remarks(ran(crowd=crowd, support=RANGE)))


def test_a_cell_that_the_model_does_not_understand_is_named():
    lost = pl.when(pl.col("condition") == "jobs").then(0.24).otherwise(0.95)
    texts = remarks(ran(support=RANGE, ask=lambda rows: answer(rows).with_columns(allowed_mass=lost)))
    assert "In 1 of 2 cells" in texts[0] and "least for 'support' under 'jobs' (24%)" in texts[0]


def test_few_studies_far_effects_a_model_without_skill_and_few_training_answers_are_warned_of():
    weak = known_error(studies=8, largest=0.01, skill=(0.1, -0.2, 0.4))
    few = replace(RANGE, rows=120)
    texts = " ".join(remarks(run_experiment(plan(), people(), answer, weak, few, cautions=few.cautions)))
    for words in ("8 held-out studies", "extrapolation", "here can be relied on", "from 120 answers"):
        assert words in texts


# what is written
@pytest.fixture(scope="module")
def result():
    both = plan(outcomes=[PLAN["outcomes"][0], {"name": "n", "question": "N?", "scale": "0-100"}])
    return run_experiment(both, people(80), answer, KNOWN, RANGE, model="a <model>")


def test_page_and_tables_have_the_figures(result, tmp_path):
    page, *tables = write(result, tmp_path)
    assert [path.name for path in tables] == ["effects.csv", "distributions.csv", "codebook.csv"]
    effects, shares, codebook = map(pl.read_csv, tables)
    assert effects["effect"][0] == pytest.approx(0.3 * 4)  # points of the scale
    sums = shares.group_by("condition", "outcome").agg(pl.col("probability").sum())
    assert sums["probability"].to_list() == pytest.approx([1] * 4)
    named = codebook.group_by("file", maintain_order=True).agg("column").rows()
    assert named == [("effects.csv", effects.columns), ("distributions.csv", shares.columns)]
    found = json.loads(json.dumps(summary(result), allow_nan=False))
    assert found["effects"][0]["effect"] == pytest.approx(1.2) and found["error"]["studies"] == 21
    assert len(found["cells"]) == 4
    html = page.read_text()
    assert "+1.20" in html and "0..100" in html and "moves it by +1.20 (" in html
    assert "Effects within groups of respondents are not shown" in html
    assert html.index("skill 0.80") < html.index("moves it by")  # what the model is worth comes first
    assert "<b>toll" not in html and "&lt;b&gt;toll" in html and "a &lt;model&gt;" in html
    assert html.count("<script") == 1 and "script-src 'sha256-" in html
    assert "default-src 'none'" in html and not re.search(r"(src|href)=\"(?!data:)", html)


@pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not installed")
def test_the_page_makes_no_request_and_sorts_its_tables_in_a_browser(result, tmp_path):
    write(result, tmp_path)
    with Browser(tmp_path) as page:
        page.open(f"file://{tmp_path / 'experiment.html'}")
        page.wait("document.querySelectorAll('svg').length >= 6")
        page.run(
            "window.body = document.querySelector('.sortable').tBodies[0]; for (const text of ['−3.1', '+12', '-'])"
            " { const row = body.rows[0].cloneNode(true); row.cells[1].textContent = text; body.append(row); }"
        )
        shown = "document.querySelector('.sortable thead').rows[0].cells[1].click();"
        shown += " [...body.rows].map(row => parseFloat(row.cells[1].textContent.replace('−', '-')) || null)"
        assert page.run(shown) == [-3.1, 1.2, 12, None] and page.run(shown) == [12, 1.2, -3.1, None]
    sent = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in sent if not url.startswith(("file:", "data:", "about:"))] == []
    assert not any(event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown") for event in page.events)


# the command
def test_what_cannot_be_used_is_refused_before_the_model_is_asked(tmp_path):
    (tmp_path / "file").touch()
    command = ["experiment", str(write_plan(tmp_path))]
    done = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "file/out")])
    assert isinstance(done.exception, DataError) and "cannot be written" in str(done.exception)
    done = CliRunner().invoke(
        app, [*command, "--adapter", "elsewhere"]
    )  # another model's error is not borrowed
    assert done.exit_code == 2 and "--tables" in done.output


def test_the_command_answers_an_example_with_the_default_adapter(tmp_path, monkeypatch):
    if not (ROOT / "models/adapter/adapter_model.safetensors").exists():
        pytest.skip("the default model is not built here (dvc repro)")
    monkeypatch.chdir(ROOT)
    command = ["experiment", "examples/own-people.yaml", "--output", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [e["condition"] for e in found["effects"]] == ["endorsed", "endorsed"]
    assert any("scale 1..9" in text for text in found["warnings"]["Outside the training data"])
    assert (tmp_path / "experiment.html").exists()


def test_only_the_checkouts_own_tables_are_held_against_its_test_studies(tmp_path, monkeypatch):
    """The tables that came with somebody else's adapter are of studies that this checkout has not."""
    monkeypatch.chdir(tmp_path)
    prompt = Prompt(layout="scenario_first", max_length=512)
    ref = ModelRef(tmp_path, Path("adapter"), tmp_path / "train.parquet", prompt, "")
    monkeypatch.setattr("socrates.app.experiment.population_of", Mock(side_effect=InterruptedError))
    own = pl.read_csv(ROOT / "metrics/tables/effects.csv")["study_id"]
    for tables, studies, refused in (
        (TABLES, ["theirs"], DataError),
        (Path("elsewhere"), ["theirs"], InterruptedError),
        (TABLES, [*own, "one more"], InterruptedError),
    ):
        pl.DataFrame({"study_id": studies}).write_parquet(tmp_path / "test.parquet")
        shutil.copytree(ROOT / "metrics/tables", tables, dirs_exist_ok=True)
        with pytest.raises(refused) as error:
            ask_model(plan(), tmp_path, ref, tables, "float32", iter)
        told = r"of other studies than .*test\.parquet; run dvc repro evaluate"
        assert refused is InterruptedError or re.search(told, str(error.value))
