"""Estimates: the arithmetic by hand, the counts against the batches themselves, and the published runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from socrates.cli.__main__ import app
from socrates.cli.operate import span
from socrates.core.errors import DataError, ModelError, ParamsError
from socrates.core.files import read_table
from socrates.model.encoding import encode
from socrates.model.loading import load_tokenizer
from socrates.survey.tables import RESPONSES
from socrates.tools.estimate import (
    DIMS,
    GIB,
    ModelDims,
    Workload,
    assumed_workload,
    assumptions,
    counted_workload,
    estimates,
    memory,
    model_dims,
    operations,
    workload,
)
from socrates.tools.preset import preview
from socrates.training.collator import SharedCollator
from socrates.training.schedule import make_schedule
from tests import tiny
from tests.small_models import write_models

QWEN = DIMS["Qwen/Qwen2.5-14B-Instruct"]


def sections(*presets: str) -> dict[str, Any]:
    return preview(presets, tiny.ROOT / "params.yaml", tiny.ROOT / "presets")


def test_the_shape_has_the_published_number_of_parameters() -> None:
    norms_and_biases = 48 * (2 * 5120 + 5120 + 2 * 1024) + 5120
    assert QWEN.linear + QWEN.embeddings + norms_and_biases == 14_770_033_664
    adapter = QWEN.lora(sections("one-percent")["lora"])
    assert 131 <= 2 * adapter / 2**20 < 132  # the seed project's adapter of rank 16 has 131 MB


def test_memory_by_hand() -> None:
    dims = ModelDims(layers=2, hidden=8, intermediate=16, vocab=100, heads=2, kv_heads=1, tied=True)
    work = Workload(1, 4, 4, 10.0, 20, 0, ())
    params = sections("one-percent")
    held = memory(dims, work, params, 1)
    linear = 2 * (8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 16)
    assert held["weights"] == pytest.approx(linear * (0.5 + 1 / 64 + 1 / 4096) + 2 * 100 * 8)
    trainable = 2 * 16 * ((8 + 8) + 2 * (8 + 4) + (8 + 8) + 3 * (8 + 16))
    assert held["adapter and its gradients"] == 6 * trainable
    assert held["optimiser"] == 12 * trainable
    assert held["logits"] == 10 * 20 * 100
    params["train"] = params["train"].model_copy(update={"share_scenario": True})
    held = memory(dims, work, params, 1)
    assert held["logits"] == 10 * (4 * 4) * 100  # four rows, at most four tokens of an answer
    assert held["activations"] == 2 * 20 * 8 * 2 + 2 * 20 * (8 * 8 + 4 * 16)


def test_sharding_and_offload_take_from_a_gpu_what_they_promise() -> None:
    params = sections("full")
    work = assumed_workload(params, 4)

    def held(**deepspeed: Any) -> dict[str, float]:
        zero = params["deepspeed"].model_copy(update=deepspeed)
        return memory(QWEN, work, {**params, "deepspeed": zero}, 4)

    assert held(zero_stage=2)["optimiser"] == pytest.approx(held(zero_stage=0)["optimiser"] / 4)
    assert held(zero_stage=3)["weights"] == pytest.approx(held(zero_stage=2)["weights"] / 4)
    assert held(zero_stage=2, offload=True)["optimiser"] == 0
    assert held(zero_stage=3, offload=True)["weights"] == 0


def test_operations_count_forward_recomputation_and_backward() -> None:
    work = Workload(3, 12, 4, 10.0, 10, 8, ())  # three passes of four rows, eight rows evaluated
    train = sections("one-percent")["train"]
    weights = QWEN.linear + QWEN.head
    assert operations(QWEN, work, train) == weights * (6 * 30 + 2 * 20)
    plain = train.model_copy(update={"gradient_checkpointing": False})
    assert operations(QWEN, work, plain) == weights * (4 * 30 + 2 * 20)


def test_tokens_are_those_of_the_batches_that_training_reads(tmp_path: Path) -> None:
    write_models(tmp_path)
    params = preview([], tmp_path / "params.yaml", tiny.ROOT / "presets")
    train: Any = params["train"]
    params["train"] = train = train.model_copy(update={"max_steps": 6, "global_batch": 16, "micro_batch": 8})
    prompt: Any = params["prompt"]
    params["prompt"] = prompt.model_copy(update={"max_length": 4096})  # every row fits
    work = counted_workload(tmp_path, params, 1)
    table = read_table(tmp_path / "data/splits/train.parquet", RESPONSES)
    data = encode(table, load_tokenizer(tmp_path / "models/base"), "scenario_first")
    order = make_schedule(np.arange(len(data)), data.scenario_of_row, 6 * 16, train.group_size, train.seed)
    collate = SharedCollator(data)
    sizes = [collate([{"rows": order[i : i + 8].tolist()}])["input_ids"].numel() for i in range(0, 96, 8)]
    assert len(sizes) == 12 and work.tokens == sum(sizes) and work.longest_pass == max(sizes)


def test_another_experiments_split_is_not_counted(tmp_path: Path) -> None:
    def write(name: str, value: Any) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))

    def basis(params: Any) -> str:
        return workload(tmp_path, params, 1).basis[0]

    params = sections()
    assert "not counted, because there is no data/raw/manifest.json" in basis(params)
    write("data/raw/manifest.json", {"source": "synthetic", "world": params["data"].synthetic.model_dump()})
    write("data/sample/manifest.json", {"sample": params["sample"].model_dump()})
    write("data/splits/manifest.json", {"split": params["split"].model_dump()})
    write("models/base/manifest.json", {"kind": "builtin"})
    with pytest.raises(DataError, match=r"train\.parquet"):  # it would be counted
        basis(params)
    assert "data/raw/manifest.json was made with other params" in basis(sections("one-percent"))
    other = params["split"].model_copy(update={"seed": 43})
    assert "data/splits/manifest.json was made with other params (split.seed" in basis(
        {**params, "split": other}
    )
    hub = sections("full")["model"]
    assert "models/base/manifest.json was made with other params" in basis({**params, "model": hub})


def test_the_published_runs_are_met_where_they_are_a_test() -> None:
    one, full, smoke = sections("one-percent"), sections("full"), sections("one-percent", "smoke")
    assert assumed_workload(one, 1).steps == pytest.approx(91, rel=0.02)
    assert assumed_workload(full, 4).steps == pytest.approx(9644, rel=0.06)
    assert assumed_workload(smoke, 1).steps == 10
    a100 = {row.machine: row for row in estimates(QWEN, assumed_workload(one, 1), one)}["A100-80"]
    assert a100.hours and a100.hours[0] < 3 and a100.hours[1] > 2  # overlaps the published 2 to 3 hours


def test_sharing_saves_tokens() -> None:
    full = sections("full")
    apart = {**full, "train": full["train"].model_copy(update={"share_scenario": False, "micro_batch": 4})}
    assert assumed_workload(full, 4).tokens < 0.3 * assumed_workload(apart, 4).tokens


def test_what_does_not_fit_or_cannot_train_says_why() -> None:
    params = sections("one-percent")
    params["model"] = params["model"].model_copy(update={"quantization": "none"})
    found = {row.machine: row for row in estimates(QWEN, assumed_workload(params, 1), params)}
    assert "bfloat16" in (found["T4"].infeasible_reason or "") and "GiB" in (
        found["L4"].infeasible_reason or ""
    )
    assert not found["L4"].hours and found["A100-80"].infeasible_reason is None
    assert 28 < found["A100-80"].bytes / GIB < 60


def test_your_price_is_used_for_all_machines_together() -> None:
    params = sections("full")
    params["run"] = params["run"].model_copy(update={"usd_per_hour": 10.0})
    for row in estimates(QWEN, assumed_workload(params, 4), params, gpus=4):
        assert row.usd == (row.hours and pytest.approx([10 * hours for hours in row.hours]))


def test_an_unknown_model_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = sections("full")["model"].model_copy(update={"name": "nobody/knows"})
    with pytest.raises(ModelError, match="nobody/knows: its size is not known"):
        model_dims(model)


def test_the_command_lists_what_it_assumes_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(tiny.ROOT / "params.yaml", tmp_path)
    shutil.copytree(tiny.ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "params.yaml").read_bytes()
    result = CliRunner().invoke(app, ["estimate", "one-percent", "smoke"])
    assert result.exit_code == 0, result.output
    for text in (
        "10 steps",
        "A100-40",
        "All of it is estimated",
        "91 steps in 2 to 3 h",
        "tokens are not counted",
    ):
        assert text in result.stdout
    told = json.loads(CliRunner().invoke(app, ["estimate", "full", "--gpus", "4", "--json"]).stdout)
    assert told["assumed"][1:] == assumptions(assumed_workload(sections("full"), 4), sections("full"), 4)
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert isinstance(CliRunner().invoke(app, ["estimate", "fulll"]).exception, ParamsError)


def test_a_small_estimate_is_not_called_nothing() -> None:
    assert span((0.0004, 0.002)) == "under 0.01"
    assert span((0.0, 0.0)) == "0.00"
    assert span((1234.5, 2000.0)) == "1,234.50 to 2,000.00"
