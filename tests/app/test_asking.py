"""The model is asked as the pipeline asks it, wherever it lies and wherever it runs."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from socrates.app import model as asking
from socrates.app.answers import CHART_BINS, CHART_ROWS, Answer, binned, chart, describe
from socrates.app.model import ask_in_shards, open_model
from socrates.app.model_ref import ends, resolve_model, summarise
from socrates.app.parse import LONGEST_TEXT, Question, parse_demographics, parse_question, parse_scale
from socrates.core.errors import DataError, ModelError
from socrates.core.files import write_json
from socrates.model.loading import check_targets
from socrates.model.params import Model, Prompt
from socrates.prediction.distributions import ScoringPlan
from socrates.prediction.params import Predict
from socrates.prediction.predict import PredictionInputs
from socrates.survey.scales import Scale, scale
from tests import model_folders, tiny
from tests.small_models import predict_table

# the model


@pytest.mark.parametrize(("quantization", "asked_for"), [("none", "float32"), ("nf4", "nf4")])
def test_answers_are_those_of_the_pipeline(here: Path, quantization: str, asked_for: str) -> None:
    table = tiny.rows(4)
    name = {"name": "builtin/tiny-qwen2", "revision": None, "tokenizer": None}
    params = Model(**name, quantization=quantization, tiny=tiny.TINY)
    prompt = Prompt(layout="scenario_first", max_length=512)
    how = Predict(baselines=[], probes=[], examples=1, max_options=1001, tokens_per_batch=4096)
    given = PredictionInputs(Path("models/base"), Path("models/adapter"), params, prompt, how)
    expected, _ = predict_table(table, given)
    rows = []
    for who, text in table.select("demographic", "stimuli").iter_rows():
        question = parse_question(text)
        rows.append((parse_demographics(who).text, question.stimuli, question.scale.notation))
    found = open_model(resolve_model(), asked_for).ask(pl.DataFrame(rows, asking.QUESTIONS, orient="row"))
    assert found["scale"].to_list() == expected["scale"].to_list()
    np.testing.assert_allclose(found["allowed_mass"], expected["allowed_mass"], rtol=1e-4)
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_slight_adapter_is_not_lost_in_bfloat16_weights(here: Path) -> None:
    path = here / "models/adapter/adapter_model.safetensors"
    weights = {name: value * (1e-3 if "lora_B" in name else 1) for name, value in load_file(path).items()}
    save_file(weights, path)
    model = open_model(resolve_model(), "bfloat16").model
    beside = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    assert beside  # a change of less than half a step would be lost in the weights
    for name, layer in beside.items():
        a, b = (weights[f"{name}.lora_{side}.weight"] for side in "AB")
        delta, expected = layer.get_delta_weight("default").float(), layer.scaling["default"] * b @ a
        assert (delta - expected).norm() < 0.01 * expected.norm()  # bfloat16 has 8 bits


def test_int8_answers_are_close(here: Path) -> None:
    exact, rough = (open_model(resolve_model(), name) for name in ("float32", "int8"))
    assert "int8 on" in str(rough)
    a, b = (model.ask(model_folders.questions())["probabilities"] for model in (exact, rough))
    distances = [np.abs(np.subtract(one, other)).sum() / 2 for one, other in zip(a, b, strict=True)]
    assert 0 < np.mean(distances) < 0.1


def test_a_row_does_not_depend_on_those_beside_it(here: Path) -> None:
    model, questions = open_model(resolve_model()), model_folders.questions().with_row_index("id")
    together = model.ask(questions.sample(fraction=1, shuffle=True, seed=1)).sort("id")
    assert together.columns == [*questions.columns, "probabilities", "allowed_mass"]
    for row in range(len(questions)):
        alone = model.ask(questions[row : row + 1])
        np.testing.assert_allclose(alone["probabilities"][0], together["probabilities"][row], atol=1e-5)
        assert sum(together["probabilities"][row]) == pytest.approx(1, abs=1e-4)


def test_a_question_longer_than_the_model_reads_is_refused(here: Path) -> None:
    model = open_model(resolve_model())
    long = pl.DataFrame([("unknown", "x " * 5000, "1..7")], asking.QUESTIONS, orient="row")
    assert model.too_long(long).to_list() == [True]
    with pytest.raises(ModelError, match=r"scenario .x x .* tokens .* reads .* shorten"):
        model.ask(long)


def test_a_killed_batch_goes_on_and_gives_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, questions = open_model(resolve_model()), model_folders.questions()
    compute, calls = ScoringPlan.score, []

    def killed(self, *given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(self, *given)

    monkeypatch.setattr(ScoringPlan, "score", killed)
    with pytest.raises(KeyboardInterrupt), ExitStack() as folders:
        ask_in_shards(model, questions, folders)
    with ExitStack() as folders:
        answered = ask_in_shards(model, questions, folders)
    assert not list((here / ".scratch/answers").iterdir())
    assert len(calls) == 4  # a shard for each of three scales; two were done before the kill in the third
    straight = model.ask(questions)
    assert answered.select(questions.columns).equals(questions) and answered.columns == straight.columns
    for one, other in zip(answered["probabilities"], straight["probabilities"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# where it lies
def test_an_adapter_of_another_base_is_refused_and_one_without_a_record_noted(here: Path) -> None:
    write_json(here / "models/base/manifest.json", {"kind": "builtin", "files": {"another": "base"}})
    with pytest.raises(ModelError, match="models/adapter: trained on another base model"):
        resolve_model()
    (here / "models/adapter/training.json").unlink()
    assert "not checked" in resolve_model().notes[0]


def test_a_model_saved_whole_is_asked_without_an_adapter(here: Path) -> None:
    shutil.move("models/base", "whole")
    (here / "whole/manifest.json").unlink()
    model = open_model(resolve_model(Path("whole"), None))
    assert len(model.ask(model_folders.questions())) == 9


def test_missing_folders_are_named(here: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such folder"):
        resolve_model(Path("nowhere"))
    with pytest.raises(ModelError, match=r"elsewhere: no such folder; .*hf download"):
        resolve_model(adapter="elsewhere")
    (here / "models/adapter/adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"models/adapter: not an adapter of the model in models/base"):
        open_model(resolve_model())
    (here / "models/adapter/adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"adapter_config.json: not JSON .*train the adapter again"):
        open_model(resolve_model())
    with pytest.raises(ModelError, match=r"lora.target_modules: foo not in the model; it has .*, q_proj"):
        check_targets(Path("models/base"), ["q_proj", "foo"])  # PEFT adapts the one and says nothing
    with (here / "models/base/model.safetensors").open("r+b") as weights:
        weights.truncate(1000)
    with pytest.raises(ModelError, match=r"models/base: the model cannot be loaded \(.*header"):
        open_model(resolve_model(adapter=None))


# where it runs
MEMORY = [("cpu", 20, "float32"), ("cpu", 3, "int8"), ("cuda", 6, "bfloat16"), ("cuda", 1.5, "nf4")]


@pytest.mark.parametrize(("device", "free", "expected"), MEMORY)
def test_precision_follows_the_free_memory(monkeypatch, device: str, free: float, expected: str) -> None:
    monkeypatch.setattr(asking, "device", lambda: torch.device(device))
    monkeypatch.setattr(asking, "free_bytes", lambda on: int(free * 1e9))
    assert asking.choose_precision(2 * 10**9) == expected
    with pytest.raises(ModelError, match="are free"):
        asking.choose_precision(2 * 10**11)


# what is asked
@pytest.mark.parametrize(("given", "text"), [
    ("Gender: Female; Age: 30", "Age: 30; Gender: Female"),
    ("age: 30, gender: Female, political affiliation: Lean left, perhaps",
     "Age: 30; Gender: Female; Political affiliation: Lean left, perhaps"),
    ("Age: 30\nparty_id: Lean Democrat", "Age: 30; Political affiliation: Lean Democrat"),
    ("Shoe size: 44; Age: 30", "Age: 30; Shoe size: 44"),
    ("", "unknown"),
    ({"age": "30", "Gender": None, "Pet": "cat"}, "Age: 30; Pet: cat"),
    ({"age": 30.0, "household_size": "2.0"}, "Age: 30; Household size: 2"),
])  # fmt: skip
def test_a_persona_reads_as_in_training(given: str | dict, text: str) -> None:
    assert parse_demographics(given).text == text


@pytest.mark.parametrize(("given", "message"), [
    ("a nurse of thirty", "no field was understood"),
    ("Age: 30; Gender: Male; age: 40", "Age is given twice; keep one"),
    ({"age": "30", "Age": "40"}, "age is given twice .*; keep one"),
    ({"age": "30", " age": "31"}, "age is given twice"),
])  # fmt: skip
def test_demographics_without_a_field_or_with_one_twice_are_refused(given: str | dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_demographics(given)


@pytest.mark.parametrize(("text", "notation"), [
    ("1-7", "1..7"),
    ("0 to 100", "0..100"),
    ("-3..3", "-3..3"),
    ("-3–3", "-3..3"),
    ("0-1000/100", "0..1000/100"),
    ("1,2, 98", "1,2,98"),
])  # fmt: skip
def test_scales_are_read(text: str, notation: str) -> None:
    assert parse_scale(text).notation == notation


@pytest.mark.parametrize("text", ["7-1", "1-1", "x", "1-7-9", "", "5"])
def test_what_is_no_scale_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="scale"):
        parse_scale(text)


@pytest.mark.parametrize("notation", ["1..7", "0..1000/100", "1,2", "1,2,98", "-3..3"])
def test_the_instruction_that_is_added_reads_back_as_the_scale(notation: str) -> None:
    question = parse_question("Is the tram good?", notation)
    assert question.scale == scale(notation)
    assert parse_question(question.stimuli).scale == scale(notation)
    assert "added" in question.notes[0]


def test_scales_that_contradict_each_other_are_noted() -> None:
    one, other = tiny.SCENARIOS[1], tiny.SCENARIOS[2]
    question = parse_question(one, "1-5")
    assert question.scale.notation == "1..5"
    assert question.notes == ("the scenario states 1..7; answers are read on 1..5, as given",)
    question = parse_question(f"{other} {one}")
    assert question.scale.notation == "1..7"
    assert question.notes == ("the text states 0..100 too; answers are read on 1..7, its last",)
    assert parse_question(one, "1-7").notes == parse_question(f"{one} {one}").notes == ()


def test_a_long_scale_is_thinned_and_said() -> None:
    question = parse_question("How much? Only return an integer from 0 to 50000.")
    assert len(question.scale.options) <= 1001
    assert "50,001 answers" in question.notes[0]


@pytest.mark.parametrize(("text", "message"), [
    ("Is the tram good?", r"'Is the tram good\?': understood no answer scale.*--scale 1-7"),
    ("How many? Only return an integer up to 4.", "understood an integer up to 4, no whole range"),
    ("   \n", "scenario: is empty"),
    ("x" * (LONGEST_TEXT + 1), r"scenario: [\d,]+ characters"),
])  # fmt: skip
def test_a_scenario_without_a_scale_empty_or_huge_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_question(text)


# what training had seen
def test_what_training_had_not_seen_is_said() -> None:
    known = summarise(tiny.rows(12))
    assert known.numbers["age"] == (18, 117)
    assert known.values["gender"] == ["Female", "Male"]
    assert known.scales == ["0..100", "1..2", "1..7"]
    assert known.of_persona(parse_demographics("Age: 30; Gender: Male")) == []
    said = " | ".join(known.of_persona(parse_demographics("Age: 130; Gender: Other; Income: 1; Pet: cat")))
    for expected in ("130 is outside", "answered 'Other'", "Income: no training", "Pet: not a field"):
        assert expected in said
    said = known.of_persona(parse_demographics("Age: thirty"))
    assert said == ["Age: thirty is outside the training data's 18 to 117"]
    assert known.of_question(parse_question(tiny.SCENARIOS[1])) == []
    said = " | ".join(known.of_question(Question("x" * 500, scale("0..1000"), "")))
    assert "scale 0..1000: no training question had it (they had 0..100, 1..2, 1..7)" in said
    assert "words: 1 of 1 are in no training scenario" in said


@pytest.mark.parametrize(("text", "labels"), [
    ("from 1 to 7, where 1 means Bad and 7 means Very good, nothing else.", "bad|very good"),
    ("from 1 to 7, where 1 = 'Don't know' and 7 = 'Very, very warm'.", "don't know|very, very warm"),
    ("from 1 to 7 (1 = never; 4 = sometimes; 7 = always).", "never|always"),
    ("Only return 1 for 'Yes' or 7 for 'No', nothing else.", "yes|no"),
    ("on a scale from 1 (not at all) to 7 (very much).", "not at all|very much"),
    ("(1-7 scale, 1=Strongly oppose)", "strongly oppose|"),
    ("from 1 to 7 (1=low).", "low|"),
    ("Only return an integer from 1 to 7, nothing else.", "|"),
    ("It costs $1 for a child of 7. Only return an integer from 1 to 7.", "|"),
])  # fmt: skip
def test_what_the_ends_of_a_scale_stand_for_is_read(text: str, labels: str) -> None:
    assert "|".join(ends(text, scale("1..7"))) == labels


def test_ends_that_training_had_the_other_way_round_are_said() -> None:
    known = summarise(tiny.rows(12))
    assert known.labels == {("", ""), ("yes", "no")}
    turned = "Would you ride it? Only return 1 for 'No' or 2 for 'Yes', nothing else."
    assert known.of_question(parse_question(turned)) == [
        "answers: 1 for 'no' and 2 for 'yes'; training questions had it the other way round only"
    ]


# what is said of an answer
def test_the_middle_80_percent_and_the_expected_answer() -> None:
    answer = Answer(Scale(range(1, 6)), np.array([0.05, 0.1, 0.5, 0.3, 0.05]), 0.9)
    assert answer.expected == pytest.approx(3.2)
    assert answer.interval() == (2, 4)
    assert Answer(Scale(range(1, 6)), np.array([0, 0, 1, 0, 0.0]), 1).interval() == (3, 3)
    assert "format validity 90.0 %" in describe(answer)
    assert answer.doubts == []
    assert "1.0 %" in Answer(Scale(range(1, 3)), np.array([0.5, 0.5]), 0.01).doubts[0]


def test_draws_follow_temperature_and_top_p() -> None:
    answer = Answer(Scale((1, 2, 98)), np.array([0.6, 0.38, 0.02]), 1)
    draws = answer.draw(4000, seed=1)
    assert draws == answer.draw(4000, seed=1) != answer.draw(4000, seed=2)
    assert set(draws) == {1, 2}  # top-p cuts the tail
    sharp = np.array([0.6, 0.38]) ** (1 / 0.6)
    assert np.mean(np.array(draws) == 1) == pytest.approx(sharp[0] / sharp.sum(), abs=0.03)


@pytest.mark.parametrize("notation", ["1..7", "0..100", "-3..3", "0..1000/50", "1,2,98", "-500..500"])
def test_a_chart_shows_all_of_the_distribution(notation: str) -> None:
    options = scale(notation).options
    answer = Answer(scale(notation), np.full(len(options), 1 / len(options)), 1)
    labels, shares = binned(answer)
    assert shares.sum() == pytest.approx(1)
    assert len(labels) == len(options) if len(options) <= CHART_ROWS else len(labels) <= CHART_BINS
    text = chart({"adapter": answer, "base": answer})
    assert text.count("adapter:") == text.count("base:") == 1
    assert len({len(line) for line in text.splitlines() if "%" in line}) == 1  # columns line up
    for columns in (30, 40, 80, 200):
        assert max(map(len, chart({"base": answer}, columns).splitlines())) <= columns
