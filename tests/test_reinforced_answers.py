"""The real train stage with ``train.method: grpo`` on a two-layer model: files, resume, refusals."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from peft import PeftModel
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from socrates.errors import TrainingError
from socrates.model.base import load_base
from socrates.model.builtin import build_builtin
from socrates.params import parse, read_yaml
from socrates.params.model import Model
from socrates.survey.tables import RESPONSES
from socrates.training.grpo import ROW
from socrates.training.respond import check_lengths, questions
from tests import tiny
from tests.test_train_stage import copy, ready, run

__all__ = ["ready"]  # a fixture
GRPO = {
    "global_batch": 16,
    "micro_batch": 8,
    "generations": 4,
    "max_steps": 4,
    "log_steps": 1,
    "save_steps": 2,
    "learning_rate": 1.0e-3,
}


@pytest.fixture(scope="module")
def able(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like ``ready``, with a base model that gives allowed answers at times: others earn all the same."""
    folder = tmp_path_factory.mktemp("able")
    raw = read_yaml(ready / "params.yaml")
    raw["model"]["tiny"] |= {"pretrain_steps": 120, "pretrain_learning_rate": 1.0e-2}
    YAML().dump(raw, folder / "params.yaml")
    (folder / "data").symlink_to(ready / "data")
    (folder / "models/base").mkdir(parents=True)
    model = parse(raw)["model"]
    assert isinstance(model, Model)
    rows = pl.read_parquet(ready / "data/splits/train.parquet")
    build_builtin(rows, model, "scenario_first", folder / "models/base")
    return folder


def folder_of(able: Path, folder: Path, **grpo: Any) -> Path:
    """A run folder whose method is grpo."""
    made = copy(able, folder, method="grpo")
    raw = read_yaml(made / "params.yaml")
    raw["grpo"] |= GRPO | grpo
    raw["reward"] = {"closeness": 0.5, "fit": 1.0, "invalid": -0.25}
    YAML().dump(raw, made / "params.yaml")
    return made


@pytest.fixture(scope="module")
def done(able: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = folder_of(able, tmp_path_factory.mktemp("grpo") / "run")
    result = run(folder)
    assert result.returncode == 0, result.stderr
    assert "4 steps of 4 respondents x 4 answers" in result.stdout
    return folder


def test_the_adapter_folder_is_complete_and_loads(done: Path) -> None:
    record = json.loads((done / "models/adapter/training.json").read_text())
    assert (record["steps"], record["rows"], record["completions"]) == (4, 16, 64)
    assert record["params"]["train"]["method"] == "grpo" and record["params"]["reward"]["fit"] == 1.0
    assert record["rows_too_long"] == {"train": 0} and record["rows_without_scale"] == 0
    model = parse(read_yaml(done / "params.yaml"))["model"]
    assert isinstance(model, Model)
    PeftModel.from_pretrained(load_base(done / "models/base", model), done / "models/adapter")
    weights = load_file(done / "models/adapter/adapter_model.safetensors")
    assert any(np.abs(values).max() > 0 for name, values in weights.items() if "lora_B" in name)


def test_the_curves_hold_the_reward_by_part(done: Path) -> None:
    curves = pl.read_csv(done / "metrics/train.csv")
    assert curves["step"].to_list() == [1, 2, 3, 4]
    total = curves["closeness"] + curves["fit"] + curves["invalid"]
    np.testing.assert_allclose(total, curves["reward"], atol=1e-4)
    assert "loss" not in curves.columns and curves["invalid"].max() <= 0 < curves["closeness"].max()


def test_killed_it_ends_bit_for_bit_the_same(able: Path, done: Path, tmp_path: Path) -> None:
    folder = folder_of(able, tmp_path / "run")
    killed = run(folder, str(tiny.ROOT / "tests/killing.py"), "3:training", "stages.train")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = run(folder)
    assert again.returncode == 0 and "resuming from" in again.stdout, again.stderr
    for name in ("models/adapter/adapter_model.safetensors", "metrics/train.csv"):
        assert (folder / name).read_bytes() == (done / name).read_bytes(), name


def test_answers_longer_than_the_limit_are_refused_with_the_limit_that_holds_them(
    able: Path, tmp_path: Path
) -> None:
    result = run(folder_of(able, tmp_path / "run", max_completion_length=1))
    assert result.returncode == 1
    assert "grpo.max_completion_length: 1 tokens cannot hold every allowed answer; set it to" in result.stderr
    with pytest.raises(TrainingError, match="set it to 4"):
        check_lengths(pl.Series(["1..7", "0..100"]), tiny.tokenizer(), 3)


def test_people_are_those_of_the_cell_and_a_question_without_scale_has_none() -> None:
    rows = tiny.rows(people=5)
    silent = pl.DataFrame(
        [("tram1", 99, 9, 1, 9, rows["demographic"][0], "Say how you are.", 3)],
        schema=RESPONSES,
        orient="row",
    )
    asked = questions(pl.concat([rows, silent]))
    table = asked.table
    assert table["scale"].to_list()[:3] == ["1..7", "0..100", "1..2"] and table["scale"][-1] is None
    assert table["cell"][-1] is None and table["cell"].n_unique() == 4
    assert table[ROW][0] == "study tram1, sample 0"
    for (cell,), part in table.filter(pl.col("cell").is_not_null()).group_by("cell"):
        people = asked.people[cell]
        span = people.high - people.low
        given = sorted(set(part["response"].to_list()))
        np.testing.assert_allclose(people.answers * span + people.low, given)
