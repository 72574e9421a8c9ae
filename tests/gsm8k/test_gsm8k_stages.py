"""The real stages of the word-problem pipeline on a two-layer model and a handful of steps."""

import contextlib
import importlib
import json
import signal
import sys

import numpy as np
import polars as pl
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from typer.testing import CliRunner

from gsm8k.__main__ import app
from socrates.core.errors import DataError, ModelError
from socrates.core.params import read_yaml
from socrates.runs.log import read_lines
from tests import forked, tiny

STEPS = 4


def settings(folder, **sections):
    raw = read_yaml(tiny.ROOT / "gsm8k/params.yaml")
    raw["problems"]["synthetic"] |= {"train": 64, "test": 6, "max_steps": 1}
    # Enough of a warm-up that completions open with a tag or do not: equal rewards would teach nothing.
    raw["model"]["tiny"] |= tiny.TINY.model_dump() | {"pretrain_steps": 60, "pretrain_learning_rate": 1e-2}
    raw["grpo"] |= {"global_batch": 8, "micro_batch": 4, "generations": 4, "max_completion_length": 16,
                    "max_steps": STEPS, "kl": 0.01}  # fmt: skip
    raw["run"] |= {"log_steps": 1, "save_steps": 1}
    raw["solve"] |= {"samples": 2, "pass_at": [1, 2], "max_completion_length": 6}
    raw["solve"] |= {"bootstrap": 50, "transcripts": 2}
    for name, changes in sections.items():
        raw[name] |= changes
    (folder / "gsm8k").mkdir(parents=True)
    YAML().dump(raw, folder / "gsm8k/params.yaml")


def train(folder, kill=None, **options):
    """The training's exit code, in a process of its own."""
    return forked.in_process(forked.stage, "gsm8k.stages.train", folder, kill, **options)


def stage(folder, name, *arguments):
    """Run a stage's ``main`` in this process: most of a stage's time is importing torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [name, *arguments])
        importlib.import_module(f"gsm8k.stages.{name}").main()


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A folder in which everything before train has run."""
    folder = tmp_path_factory.mktemp("word-problems") / "run"
    settings(folder)
    for name in ("download", "base"):
        stage(folder, name)
    return folder


def copy(ready, folder, **sections):
    """A run folder of its own on the same inputs, with some params changed."""
    settings(folder, **sections)
    (folder / "gsm8k/data").symlink_to(ready / "gsm8k/data")
    (folder / "gsm8k/models").mkdir()
    (folder / "gsm8k/models/base").symlink_to(ready / "gsm8k/models/base")
    return folder


@pytest.fixture(scope="module")
def done(ready):
    assert train(ready) == 0
    return ready


def test_the_pipeline_ends_in_figures_with_intervals_and_a_page_with_transcripts(done):
    for name, *model in (("solve", "base"), ("solve", "trained"), ("evaluate",)):
        stage(done, name, *model)
    found = json.loads((done / "gsm8k/metrics/evaluate.json").read_text())
    for decoding, rates in (("greedy", {"exact", "pass@1"}), ("sampled", {"strict_format", "pass@2"})):
        assert found[decoding]["problems"] == 6
        for side in ("base", "trained", "difference"):
            assert rates <= set(found[decoding][side])
            assert all({"value", "low", "high"} == set(one) for one in found[decoding][side].values())
    attempts = pl.read_parquet(done / "gsm8k/data/attempts/trained.parquet")
    assert attempts.group_by("problem_id", "decoding").len()["len"].sort().to_list() == [1] * 6 + [2] * 6
    assert (done / "gsm8k/metrics/report.md").read_text().count("Reference:") == 2


def test_the_trained_folder_and_the_curves_are_complete(done):
    names = {path.name for path in (done / "gsm8k/models/trained").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    curves = pl.read_csv(done / "gsm8k/metrics/train.csv")
    assert curves["step"].to_list() == list(range(1, STEPS + 1))
    assert not sum(curves.null_count().row(0))
    assert curves["gradient_norm"].min() > 1e-3, "no difference in reward: the run has learnt nothing"
    log = (done / "runs/gsm8k.jsonl").read_text()
    assert log.count('"event": "step"') == STEPS and log.count('"reward_std"') == STEPS


def test_killed_and_resumed_it_ends_with_the_same_weights_and_curves(done, tmp_path):
    folder = copy(done, tmp_path / "killed")
    assert train(folder, kill="3:training") == -signal.SIGKILL
    assert not (folder / "gsm8k/models/trained").exists()
    assert train(folder) == 0
    log = read_lines(folder / "runs/gsm8k.jsonl")
    assert [event["step"] for event in log if event["event"] == "start"] == [0, 2]
    expected, resumed = (load_file(one / "gsm8k/models/trained/model.safetensors") for one in (done, folder))
    for name, values in resumed.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-7)
    curves = [(one / "gsm8k/metrics/train.csv").read_text() for one in (done, folder)]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(("quantization", "zero_stage"), [("nf4", 0), ("nf4", 1), ("none", 0)])
def test_it_trains_with_the_types_of_a_gpu(quantization, zero_stage, ready, tmp_path):
    """An adapter of a quantised model, checkpointed, or all weights: in bfloat16, with float32 for what is trained."""
    grpo = {"lora": quantization == "nf4", "gradient_checkpointing": True, "max_steps": 2}
    changes = {"grpo": grpo, "model": {"quantization": quantization}, "deepspeed": {"zero_stage": zero_stage}}
    folder = copy(ready, tmp_path / "run", **changes)
    assert train(folder, bfloat16=True) == 0
    (saved,) = (folder / "gsm8k/models/trained").glob("*.safetensors")
    types = {values.dtype for values in load_torch(saved).values()}
    assert types == {torch.bfloat16 if zero_stage else torch.float32}


def ask(folder, *arguments):
    with contextlib.chdir(folder):
        return CliRunner().invoke(app, [*arguments])


def test_solve_prints_reasoning_and_answer(done):
    question = "Ada has 3 pens. Ada finds 2 more. How many pens does Ada have now?"
    result = ask(done, question, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == ["question", "reasoning", "answer", "completion", "notes"]
    assert "made problems of" in found["notes"][0] and "cannot solve others" in found["notes"][0]
    assert "answer: " in ask(done, question, "--base").stdout


def test_solve_refuses_an_empty_question_and_a_model_that_is_not_there(done, tmp_path):
    assert isinstance(ask(done, " ").exception, DataError)
    assert "tokens; the model reads" in str(ask(done, "pens " * 20_000).exception)
    missing = ask(copy(done, tmp_path / "run"), "How many?").exception
    assert isinstance(missing, ModelError) and "models/trained: not found; run make gsm8k" in str(missing)
