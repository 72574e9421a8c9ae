"""A planned experiment: what a design may be, who answers, what the effects and their intervals are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from socrates.app.calibration import Calibration, calibrate, read_effects
from socrates.app.design import Design, read_design
from socrates.app.experiment import effect, needed, questions, run_experiment
from socrates.app.experiment_report import effect_row, render, summary, write
from socrates.app.parse import parse_demographics
from socrates.app.population import PersonaSample, from_file, from_training, rake
from socrates.app.training_support import TrainingSupport, tokens
from socrates.cli.__main__ import app
from socrates.core.errors import DataError
from socrates.survey.scales import scale
from socrates.survey.tables import DEMOGRAPHICS

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Calibration(1.2, 0.1, 0.05, studies=21, contrasts=60, covered=0.9, largest=0.5)
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
    return PersonaSample(
        [parse_demographics(row) for row in rows], np.full(count, 1 / count), f"{count} people"
    )


def answer(rows):
    """A model: men answer 1 point higher on 1..5, and the promise of jobs adds 1 point to everybody."""
    found = []
    for row in rows.iter_rows(named=True):
        options = list(scale(row["scale"]).options)
        index = 1 + ("Gender: Male" in row["persona"]) + ("create jobs" in row["stimuli"])
        found.append([float(i == min(index, len(options) - 1)) for i in range(len(options))])
    return rows.with_columns(probabilities=pl.Series(found), allowed_mass=pl.lit(0.99))


# the design


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": [{**c, "control": True} for c in PLAN["conditions"]]}, r"marked: 2 \(none, jobs\)"),
        ({"conditions": [{**c, "control": False} for c in PLAN["conditions"]]}, "marked: none"),
        ({"conditions": PLAN["conditions"][:1]}, "conditions: .*at least 2"),
        (
            {"conditions": [*PLAN["conditions"], {"name": "jobs", "text": "x"}]},
            "two conditions are called 'jobs'",
        ),
        (
            {"conditions": [PLAN["conditions"][0], {"name": "b", "text": "It will be  decided soon."}]},
            "same text",
        ),
        ({"conditions": [PLAN["conditions"][0], {"name": "b", "text": " "}]}, "'b' has no text"),
        ({"conditions": [PLAN["conditions"][0], {"name": "  ", "text": "x"}]}, r"conditions\.2\.name: "),
        ({"conditions": [PLAN["conditions"][0], {"name": 2024, "text": "x"}]}, r"got 2024\): put quotes"),
        ({"outcomes": [{"name": "a", "question": "  ", "scale": "1-7"}]}, r"outcomes\.1\.question: "),
        (
            {
                "population": {
                    "size": 9,
                    "quotas": {"gender": {"a": 0.5, "b": 0.5}, "Gender": {"a": 0.5, "b": 0.5}},
                }
            },
            "named twice",
        ),
        ({"outcomes": []}, "outcomes: .*at least 1"),
        ({"outcomes": [{"name": "a", "question": "Why?"}]}, "outcome 'a': .*scale: 1-7"),
        ({"outcomes": [{"name": "a", "question": "Why?", "scale": "7"}]}, "outcome 'a'"),
        ({"outcome": []}, r"outcome: unknown key \(did you mean outcomes\?\)"),
        ({"population": {"sise": 4}}, r"population.sise: unknown key \(did you mean size\?\)"),
        ({"population": {}}, "either file"),
        ({"population": {"size": 10, "file": "a.csv"}}, "either file"),
        ({"population": {"size": 10, "quotas": {"gender": {"Female": 0.4, "Male": 0.4}}}}, "sum to 0.800"),
        (
            {"population": {"size": 10, "quotas": {"gendr": {"Female": 0.5, "Male": 0.5}}}},
            "did you mean gender",
        ),
        ({"population": {"size": 600_000}}, "population.size"),
        ({"subgroups": ["shoe size"]}, "'shoe size' is no demographic field"),
        ({"respondents": 1}, "respondents: "),
        ({"respondents": 5, "conditions": CROWDED}, "respondents: 5 in 3 conditions; at least 6"),
    ],
)
def test_a_design_that_cannot_be_used_is_refused_in_one_line_that_names_the_file(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as error:
        read_design(write_plan(tmp_path, **change))
    assert "plan.yaml" in str(error.value) and "\n" not in str(error.value)


def test_all_problems_of_a_design_are_told_at_once(tmp_path):
    with pytest.raises(DataError) as error:
        read_design(write_plan(tmp_path, respondents=0, title="", outcome=1))
    assert all(key in str(error.value) for key in ("respondents", "title", "outcome: unknown"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "not valid YAML"),
        (b"\x92\x00", "not valid YAML"),
        (b"- a", "expected keys"),
        (None, "not found"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "plan.yaml").write_bytes(content)
    with pytest.raises(DataError, match=f"plan.yaml: {message}") as error:
        read_design(tmp_path / "plan.yaml")
    assert "\n" not in str(error.value)


def test_everyone_is_asked_everything_in_one_text():
    asked = questions(plan(), people(3))
    assert len(asked) == 2 * 1 * 3
    assert asked["stimuli"][0].startswith(
        "You read about a plan to charge a toll. It will be decided soon. Do you"
    )
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
    table = pl.DataFrame({"gender": gender, "party_id": party, "age": age})
    return table.select(
        pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name)
        for name in DEMOGRAPHICS
    )


def test_raking_meets_every_margin_and_keeps_who_belongs_together():
    table = respondents()
    quotas = {"gender": {"Male": 0.5, "Female": 0.5}, "age": {"18-44": 0.5, "45+": 0.5}}
    weights, placed = rake(table, quotas)
    assert placed == len(table)
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
    assert sum(person.fields["gender"] == "Male" for person in drawn.personas) == 100
    again = from_training(table, 200, {"gender": {"Male": 0.5, "Female": 0.5}}, seed=3)
    assert [p.text for p in again.personas] == [p.text for p in drawn.personas]


@pytest.mark.parametrize(
    ("quotas", "message"),
    [
        ({"gender": {"Other": 0.1, "Female": 0.9}}, "no training respondent answered 'Other' .*Female, Male"),
        ({"income": {"Low": 0.5, "High": 0.5}}, "it was not asked"),
        ({"age": {"18-40": 0.5, "30+": 0.5}}, r"quotas\.age: '\d+' is in two categories; make them apart"),
        (
            {"gender": {"Male": 0.2, "Female": 0.8}, "party_id": {"Right": 0.9, "Left": 0.1}},
            "cannot be met together",
        ),
    ],
)
def test_quotas_that_no_one_fills_are_refused(quotas, message):
    with pytest.raises(DataError, match=message):
        rake(respondents(), quotas)


def test_far_quotas_and_left_out_respondents_are_told():
    table = respondents().with_columns(
        gender=pl.when(pl.int_range(pl.len()) < 50).then(None).otherwise("gender")
    )
    drawn = from_training(
        table, 300, {"party_id": {"Right": 0.9, "Left": 0.1}, "gender": {"Male": 0.9, "Female": 0.1}}, 1
    )
    told = " ".join(drawn.notes)
    assert "50 of 400" in told and "effective" in told and "repeat" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,gender\n", "no rows"),
        ("age,gender\n30,Female\n", "one persona"),
        ("shoe\n1\n2\n", "no column is a demographic field; found 'shoe'"),
        ("age;gender\n1;2\n2;3\n", "found 'age;gender' .put commas between columns"),
        ("age,weight\n30,1\n31,none\n", "row 2: weight 'none' is not a positive number"),
        ("age,weight\n30,0\n31,1\n", "row 1: weight '0'"),
        ("", "not a readable CSV"),
    ],
)
def test_a_file_that_is_no_population_is_refused(tmp_path, text, message):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        from_file(tmp_path / "people.csv")
    assert "\n" not in str(error.value)


def test_the_weights_of_a_file_count(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("Gender,weight\nFemale,3\nMale,1\n")
    found = from_file(path)
    assert found.weights.tolist() == [0.75, 0.25]
    result = run_experiment(plan(), found, answer, KNOWN)
    assert result.arms[0].answer.expected == pytest.approx(0.75 * 2 + 0.25 * 3)
    assert found.effective_size == pytest.approx(1 / (0.75**2 + 0.25**2))


# the known error


def effects_table(studies, slope, residual, noise, seed, conditions=3, size=0.15):
    """Held-out effects of a model whose slope and residual are known."""
    rng = np.random.default_rng(seed)
    rows = []
    for study in range(studies):
        for task in (1, 2):
            for condition in range(conditions):
                predicted = rng.normal(0, size)
                human = slope * predicted + rng.normal(0, residual) + rng.normal(0, noise)
                rows.append((f"s{study}", condition, task, "1..5", human, noise, predicted))
    names = ["study_id", "condition_num", "task_num", "scale", "human", "human_se", "predicted"]
    return pl.DataFrame(rows, names, orient="row")


def test_the_slope_is_that_of_people_on_the_model_by_hand():
    rows = [
        (f"s{i}", c, 1, "1..5", h, 0.0, p) for i in range(3) for c, h, p in ((1, 0.0, 0.0), (2, 0.2, 0.4))
    ]
    names = ["study_id", "condition_num", "task_num", "scale", "human", "human_se", "predicted"]
    known = calibrate(pl.DataFrame(rows, names, orient="row"))
    assert known.slope == pytest.approx(0.5)  # the model says twice what people do
    assert known.slope_se == pytest.approx(0, abs=1e-9) and known.residual == pytest.approx(0, abs=1e-9)
    assert (known.studies, known.contrasts, known.largest) == (3, 3, 0.4)


def test_slope_and_residual_are_found_and_the_noise_of_people_is_taken_out():
    known = calibrate(effects_table(400, 0.7, 0.06, noise=0.05, seed=2))
    assert known.slope == pytest.approx(0.7, abs=0.03)
    assert known.residual == pytest.approx(0.06, abs=0.005)
    assert known.covered == pytest.approx(0.9, abs=0.03)


def test_ninety_percent_intervals_hold_the_truth_of_nine_in_ten_new_studies():
    """Calibrated on 12 studies, tried on one that is not among them; 300 times."""
    inside = []
    for seed in range(300):
        known = calibrate(effects_table(12, 0.8, 0.06, noise=0.04, seed=seed))
        rng = np.random.default_rng(10_000 + seed)
        predicted = rng.normal(0, 0.2)
        truth = 0.8 * predicted + rng.normal(0, 0.06 * np.sqrt(2))
        half = known.quantile * float(known.error(np.array(predicted)))
        inside.append(abs(truth - known.slope * predicted) <= half)
    assert 0.85 <= np.mean(inside) <= 0.95


def test_scales_are_not_compared_with_each_other():
    table = effects_table(5, 1.0, 0.05, 0.02, seed=1, conditions=4)
    split = table.with_columns(
        scale=pl.when(pl.col("condition_num") < 2).then(pl.lit("1..5")).otherwise(pl.lit("1..7"))
    )
    assert calibrate(split).contrasts == 5 * 2 * 2
    assert calibrate(table).contrasts == 5 * 2 * 6


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (effects_table(2, 1, 0.1, 0.1, seed=1), "2 held-out studies"),
        (effects_table(5, 1, 0.1, 0.1, seed=1).with_columns(predicted=pl.lit(0.1)), "predicts no effect"),
    ],
)
def test_an_error_that_cannot_be_known_is_refused(table, message):
    with pytest.raises(DataError, match=message):
        calibrate(table)


def test_the_tables_of_evaluate_are_read():
    found = read_effects(ROOT / "metrics/tables", "adapter")
    assert found.columns == [
        "study_id",
        "condition_num",
        "task_num",
        "scale",
        "human",
        "human_se",
        "predicted",
    ]
    assert calibrate(found).studies >= 3
    with pytest.raises(DataError, match=r"effects.csv: .*nobody"):
        read_effects(ROOT / "metrics/tables", "nobody")
    with pytest.raises(DataError, match="not found"):
        read_effects(ROOT / "nowhere", "adapter")


# effects and power


def test_an_effect_and_its_interval_by_hand():
    result = run_experiment(plan(respondents=200), people(), answer, KNOWN)
    found = result.effects[0]
    assert found.predicted == pytest.approx(0.25)  # one point of four, for everybody
    assert found.effect == pytest.approx(1.2 * 0.25)
    error = np.sqrt((0.1 * 0.25) ** 2 + 2 * 0.05**2)  # the personas agree: no sampling of theirs
    assert found.high - found.effect == pytest.approx(KNOWN.quantile * error)
    assert KNOWN.quantile == pytest.approx(1.7247, abs=1e-4)  # Student's t, 20 degrees of freedom
    deviation = 0.125  # half the people one point of four higher
    sampling = np.sqrt(2 * deviation**2 / 100)
    assert found.study_high - found.effect == pytest.approx(KNOWN.quantile * np.hypot(error, sampling))


def test_personas_that_differ_widen_the_interval_and_more_of_them_narrow_it():
    def mixed(rows):
        """Jobs move men only."""
        found = answer(rows)
        jobs_for_women = pl.col("stimuli").str.contains("create jobs") & pl.col("persona").str.contains(
            "Female"
        )
        still = pl.Series([[0.0, 1.0, 0.0, 0.0, 0.0]] * len(rows))
        return found.with_columns(
            probabilities=pl.when(jobs_for_women).then(still).otherwise("probabilities")
        )

    def half(count, model):
        found = run_experiment(plan(), people(count), model, KNOWN).effects[0]
        return found.high - found.effect

    exact = Calibration(1.2, 0.1, 0.05, 21, 60, 0.9, 0.5)
    base = exact.quantile * float(exact.error(np.array(0.125)))
    small, large = half(10, mixed), half(1000, mixed)
    assert small > large > base
    by_hand = np.sqrt((base / exact.quantile) ** 2 + 1.2**2 * 0.25**2 * 0.25 / 9)
    assert small == pytest.approx(exact.quantile * by_hand)


def test_the_number_needed_is_that_of_the_textbook():
    # Cohen's d of 0.5: 63 per group
    assert needed(0.1, 0.2, 0.2) == 63
    assert needed(0.0, 0.2, 0.2) is None


def test_power_is_what_a_simulated_study_finds():
    result = run_experiment(
        plan(respondents=40), people(), answer, Calibration(0.2, 0, 0.03, 40, 60, 0.9, 0.5)
    )
    found = result.effects[0]
    rng = np.random.default_rng(5)
    n, deviation = 20, 0.125
    means = rng.normal([[0.0], [found.effect]], deviation / np.sqrt(n), (2, 40_000))
    z = (means[1] - means[0]) / np.sqrt(2 * deviation**2 / n)
    assert found.power == pytest.approx((z > 1.96).mean(), abs=0.01)
    true = found.effect + 0.03 * np.sqrt(2) * rng.standard_t(39, 40_000)
    z = (rng.normal(true, np.sqrt(2 * deviation**2 / n))) / np.sqrt(2 * deviation**2 / n)
    assert found.assurance == pytest.approx((z > 1.96).mean(), abs=0.01)


def test_subgroups_have_effects_of_their_own_and_small_ones_are_named_instead():
    def only_men(rows):
        found = answer(rows)
        women = pl.col("persona").str.contains("Female")
        still = pl.Series([[0.0, 1.0, 0.0, 0.0, 0.0]] * len(rows))
        return found.with_columns(probabilities=pl.when(women).then(still).otherwise("probabilities"))

    crowd = people(90, gender=["Female", "Male", "Female"], age=["22", "41", "41", "41", "41", "41"])
    result = run_experiment(plan(subgroups=["gender", "age"]), crowd, only_men, KNOWN)
    found = {e.group: e for e in result.subgroups}
    assert found["gender: Female"].predicted == pytest.approx(0)
    assert found["gender: Male"].predicted == pytest.approx(0.25)
    assert found["gender: Male"].personas == 30
    assert "age: 18-29" not in found and any("age: 18-29 (15)" in note for note in result.notes)


def test_an_order_of_rows_that_the_model_changes_does_not_mix_people_up():
    mixed = run_experiment(plan(), people(), lambda rows: answer(rows).reverse(), KNOWN)
    straight = run_experiment(plan(), people(), answer, KNOWN)
    assert mixed.effects == straight.effects


# warnings

READ = "You read about a plan to charge a toll. It will be decided soon. It would create jobs. Do you support it?"
RANGE = TrainingSupport(
    100,
    {"gender": ["Female", "Male"], "age": []},
    {"age": [18, 60]},
    ["1..5", "1..7"],
    [60, 160],
    1,
    [["", ""], ["no", "yes"]],
    tokens(f"{READ} Only return an integer from 1 to 5, nothing else."),
)


REVERSED = "Only return an integer from 1 to 5, where 1 means Yes and 5 means No."
NEW_ENDS = "Only return an integer from 1 to 5 (1=never)."


def test_inside_the_training_range_nothing_is_said_of_it():
    result = run_experiment(plan(), people(), answer, KNOWN, RANGE)
    assert result.warnings == []


@pytest.mark.parametrize(
    ("change", "crowd", "words"),
    [
        ({"outcomes": [{"name": "a", "question": "Do you?", "scale": "0-10"}]}, {}, ["'a':", "scale 0..10"]),
        (
            {"outcomes": [{"name": "a", "question": f"So? {REVERSED}"}]},
            {},
            ["'a': answers: 1 for 'yes'", "other way"],
        ),
        (
            {"outcomes": [{"name": "a", "question": f"So? {NEW_ENDS}"}]},
            {},
            ["1 for 'never' and 5 for nothing"],
        ),
        (
            {
                "outcomes": [
                    {
                        "name": "a",
                        "question": "Wie finden Sie diesen Plan der Stadt, und warum?",
                        "scale": "1-5",
                    }
                ]
            },
            {},
            ["words: 8 of"],
        ),
        ({}, {"shoe": ["7"]}, ["100% of the population: persona: 0 of the fields"]),
        ({}, {"age": ["old"], "gender": ["Male"]}, ["Age: old is outside the training data's 18 to 60"]),
        ({"scenario": "Decided soon. " * 40}, {}, ["'none'", "characters", "60 to 160"]),
        ({}, {"gender": ["Female", "Other"]}, ["50% of the population", "'Other'"]),
        ({}, {"income": ["Low"]}, ["100% of the population", "Income"]),
    ],
)
def test_what_lies_outside_the_training_range_is_said_plainly(change, crowd, words):
    texts = run_experiment(plan(**change), people(**crowd), answer, KNOWN, RANGE).warnings
    assert any(all(word in text for word in words) for text in texts), texts
    assert all(text.startswith("Outside the training range") for text in texts)


FIVE = "Do you? Only return an integer from 1 to 5."
NINE = "Only return an integer from 0 to 9."


@pytest.mark.parametrize(
    ("outcome", "condition", "words"),
    [
        (
            {"question": FIVE, "scale": "1-4"},
            "So.",
            "'a': the scenario states 1..5; answers are read on 1..4",
        ),
        ({"question": f"{NINE} {FIVE}"}, "So.", "'a': the text states 0..9 too; answers are read on 1..5"),
        ({"question": FIVE}, NINE, "'a' under 'b': the text states 0..9 too"),
    ],
)
def test_scales_that_contradict_each_other_are_warned_of(outcome, condition, words):
    conditions = [PLAN["conditions"][0], {"name": "b", "text": condition}]
    design = plan(outcomes=[{"name": "a", **outcome}], conditions=conditions)
    texts = run_experiment(design, people(), answer, KNOWN).warnings
    assert any(words in text for text in texts), texts


def test_an_instruction_that_is_added_is_noted():
    notes = run_experiment(plan(), people(), answer, KNOWN, RANGE).notes
    instruction = "Only return an integer from 1 to 5, nothing else."
    assert notes == [f"Outcome 'support': asked with “{instruction}” added to the scenario."]


def test_a_population_that_stands_for_few_is_warned_of():
    few = people(29)
    heavy = PersonaSample(few.personas, np.array([1e9, *[1.0] * 28]) / (1e9 + 28), "weighted")
    for crowd, words in ((few, "counts as 29 personas"), (heavy, "counts as 1 personas")):
        assert any(words in text for text in run_experiment(plan(), crowd, answer, KNOWN, RANGE).warnings)


def test_a_cell_that_the_model_does_not_understand_is_named():
    lost = pl.when(pl.col("condition") == "jobs").then(0.24).otherwise(0.95)
    texts = run_experiment(
        plan(), people(), lambda rows: answer(rows).with_columns(allowed_mass=lost), KNOWN, RANGE
    ).warnings
    assert "In 1 of 2 cells" in texts[0] and "least for 'support' under 'jobs' (24%)" in texts[0]


def test_few_studies_far_effects_and_a_model_without_effects_are_warned_of():
    weak = Calibration(0.5, 0.6, 0.1, studies=8, contrasts=10, covered=0.9, largest=0.01)
    texts = " ".join(run_experiment(plan(), people(), answer, weak, RANGE).warnings)
    assert "8 held-out studies" in texts and "extrapolation" in texts and "no effect here" in texts


# what is written


@pytest.fixture(scope="module")
def result():
    both = plan(
        subgroups=["gender"],
        outcomes=[PLAN["outcomes"][0], {"name": "n", "question": "N?", "scale": "0-100"}],
    )
    return run_experiment(both, people(80), answer, KNOWN, RANGE, model="a <model>")


def test_page_and_tables_have_the_figures(result, tmp_path):
    paths = write(result, tmp_path)
    assert [path.name for path in paths] == [
        "experiment.html",
        "effects.csv",
        "distributions.csv",
        "subgroups.csv",
    ]
    effects = pl.read_csv(tmp_path / "effects.csv")
    assert effects["effect"][0] == pytest.approx(0.3 * 4)  # points of the scale
    shares = pl.read_csv(tmp_path / "distributions.csv")
    assert shares.group_by("condition", "outcome").agg(pl.col("probability").sum())[
        "probability"
    ].to_list() == (pytest.approx([1] * 4))
    html = paths[0].read_text()
    assert "+1.20" in html and "gender: Female" in html and "0..100" in html


def test_the_page_is_self_contained_and_escapes_what_the_user_wrote(result):
    html = render(result)
    assert "<b>toll" not in html and "&lt;b&gt;toll" in html and "a &lt;model&gt;" in html
    assert "<script" not in html and not re.search(r"(src|href)=\"(?!data:)", html)
    assert "default-src 'none'" in html


def test_the_page_makes_no_request_in_a_browser(result, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here: the page is not looked at in a browser")
    write(result, tmp_path)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom"]
    done = subprocess.run(
        [
            browser,
            *flags,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"file://{tmp_path / 'experiment.html'}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr and done.stdout.count("<svg") >= 8


def test_the_summary_is_json_and_agrees_with_the_table(result):
    found = json.loads(json.dumps(summary(result), allow_nan=False))
    assert found["effects"][0]["effect"] == effect_row(result.effects[0])["effect"]
    assert len(found["cells"]) == 4 and found["calibration"]["studies"] == 21


# the command


def test_the_command_refuses_a_bad_design_without_a_traceback(tmp_path):
    path = write_plan(tmp_path, conditions=[{**c, "control": True} for c in PLAN["conditions"]])
    done = CliRunner().invoke(app, ["experiment", str(path)])
    assert isinstance(done.exception, DataError) and "marked: 2" in str(done.exception)


def test_a_folder_that_cannot_be_written_is_refused_before_the_model_is_asked(tmp_path):
    (tmp_path / "file").touch()
    done = CliRunner().invoke(
        app, ["experiment", str(write_plan(tmp_path)), "--output", str(tmp_path / "file/out")]
    )
    assert isinstance(done.exception, DataError) and "cannot be written" in str(done.exception)


def test_another_models_error_is_not_borrowed(tmp_path):
    done = CliRunner().invoke(app, ["experiment", str(write_plan(tmp_path)), "--adapter", "elsewhere"])
    assert done.exit_code == 2 and "--tables" in done.output


def test_the_command_answers_an_example_with_the_default_adapter(tmp_path, monkeypatch):
    if not (ROOT / "models/adapter/adapter_model.safetensors").exists():
        pytest.skip("the default model is not built here (dvc repro)")
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(
        app,
        ["experiment", "examples/own-people.yaml", "--output", str(tmp_path), "--json"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [e["condition"] for e in found["effects"]] == ["failed nearby", "failed nearby"]
    assert any("scale 1..9" in text for text in found["warnings"])
    assert (tmp_path / "experiment.html").exists()


def test_effect_uses_the_group_it_is_given():
    crowd = people(40)
    result = run_experiment(plan(), crowd, answer, KNOWN)
    control, treated = result.arms
    alone = np.zeros(40)
    alone[:2] = 0.5
    assert effect(treated, control, alone, KNOWN, 20, "two").personas == 2
