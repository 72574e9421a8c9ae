"""Estimates: the arithmetic by hand, the counts against the batches themselves, and the published runs."""

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2ForCausalLM
from typer.testing import CliRunner

from benchmarks.workload import config as benchmark_config
from socrates.cli.__main__ import app
from socrates.core.errors import DataError, ModelError, ParamsError
from socrates.core.files import read_table, write_json
from socrates.model.encoding import encode
from socrates.model.loading import load_tokenizer
from socrates.model.prefix_sharing import pack, use_prefix_sharing
from socrates.survey.tables import RESPONSES
from socrates.tools import estimate as costs
from socrates.tools.estimate import GIB, Lengths, ModelDims, Workload
from socrates.tools.preset import preview
from socrates.training.collator import Rows, by_pass, pass_tokens
from socrates.training.schedule import BatchPlan, make_schedule
from tests import tiny
from tests.small_models import write_models

QWEN = costs.DIMS["Qwen/Qwen2.5-14B-Instruct"]
# Seconds of 8 passes of one row of so many tokens: Qwen-14B on one A100-SXM4-80G with gradient checkpointing, Q-LoRA
# (int4) and LoRA (bfloat16). github.com/QwenLM/Qwen, README, "Profiling of Memory and Speed".
PUBLISHED = {
    "nf4": {256: 5.3, 512: 6.3, 1024: 8.2, 2048: 11.8, 4096: 20.1, 8192: 38.3},
    "none": {256: 1.6, 512: 2.4, 1024: 4.4, 2048: 8.4, 4096: 17.0, 8192: 36.0},
}


def sections(*presets: str) -> dict[str, Any]:
    return preview(presets, tiny.ROOT / "params.yaml", tiny.ROOT / "presets")


def with_values(params: dict[str, Any], name: str, **values: Any) -> dict[str, Any]:
    return {**params, name: params[name].model_copy(update=values)}


def test_the_shape_has_the_published_number_of_parameters():
    norms_and_biases = 48 * (2 * 5120 + 5120 + 2 * 1024) + 5120
    assert QWEN.whole + norms_and_biases == 14_770_033_664
    adapter = QWEN.lora(sections("one-percent")["lora"])
    assert 131 <= 2 * adapter / 2**20 < 132  # the seed project's adapter of rank 16 has 131 MB


def work_of(
    micro: int,
    tokens: float,
    rows: int,
    evaluated: int = 0,
    every: int = 0,
    dims: ModelDims = QWEN,
    **model: Any,
) -> Workload:
    """Work whose passes all have ``tokens``."""
    params = with_values(sections("one-percent"), "model", **model)
    lengths = Lengths(0, 0, tokens / micro, 0)
    return Workload(params, dims, 1, BatchPlan(1, micro, 1, every), rows, evaluated, lengths)


def test_memory_by_hand():
    dims = ModelDims(layers=2, hidden=8, intermediate=16, vocab=100, heads=2, kv_heads=1, tied=True)
    held = costs.memory(work_of(4, 20.0, 4, dims=dims))
    linear = 2 * (8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 16)
    assert held["weights"] == pytest.approx(linear * (0.5 + 1 / 64 + 1 / 4096) + 2 * 100 * 8)
    trainable = 2 * 16 * ((8 + 8) + 2 * (8 + 4) + (8 + 8) + 3 * (8 + 16))
    assert held["adapter and its gradients"] == 6 * trainable
    assert held["optimiser"] == 12 * trainable
    assert held["logits"] == 10 * (4 * 4) * 100  # four rows, at most four tokens of an answer
    layer = 20 * costs.layer_bytes(dims, True, 1)
    for every, expected in {0: 2 * layer, 1: 2 * 20 * 8 * 2 + layer, 2: 2 * 20 * 8 + 2 * layer}.items():
        held = costs.memory(work_of(4, 20.0, 4, every=every, dims=dims))
        assert held["activations"] == pytest.approx(expected)


def saved_bytes(layers: int, dropout: float, batch: dict[str, Any]) -> int:
    """What autograd keeps of a forward pass through a small model with an adapter, each tensor once, but no weight."""
    config = benchmark_config(ModelDims(layers, 320, 864, 64, 10, 2, tied=False))
    base = Qwen2ForCausalLM(config).bfloat16()
    lora = LoraConfig(r=4, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    use_prefix_sharing(base)
    base.enable_input_require_grads()
    model = get_peft_model(base, lora, autocast_adapter_dtype=False).train()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(**batch)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    del output
    return sum(size for pointer, size in kept.items() if pointer not in weights)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_what_a_layer_keeps_is_what_autograd_saves(dropout):
    """At a sixteenth of the widths of Qwen2.5-14B, with the real rows' mean lengths in groups of 16."""
    ids = [np.arange(length, dtype=np.int32) % 64 for length in (147, 44)]
    batch = pack([ids[0]] * 2, [ids[1]] * 32, [0] * 16 + [1] * 16, logits_to_keep=np.arange(4))
    tokens = 2 * 147 + 32 * 44
    expected = costs.layer_bytes(
        ModelDims(1, 320, 864, 64, 10, 2, tied=False), dropout > 0, 32 * 191 / tokens
    )
    expected += 6 * 320 + 864 if dropout else 0  # on a CPU a mask takes two bytes
    kept = saved_bytes(2, dropout, batch) - saved_bytes(1, dropout, batch)
    assert tokens * expected == pytest.approx(kept, rel=0.05)


def test_sharding_and_offload_take_from_a_gpu_what_they_promise():
    def held(**deepspeed: Any) -> dict[str, float]:
        return costs.memory(
            costs.assumed_workload(with_values(sections("full"), "deepspeed", **deepspeed), 4)
        )

    assert held(zero_stage=2)["optimiser"] == pytest.approx(held(zero_stage=0)["optimiser"] / 4)
    assert held(zero_stage=3)["weights"] == pytest.approx(held(zero_stage=2)["weights"] / 4)
    assert held(zero_stage=2, offload=True)["optimiser"] == 0
    assert held(zero_stage=3, offload=True)["weights"] == 0


@pytest.mark.parametrize("quantization", PUBLISHED)
def test_published_passes_are_met_within_a_quarter(quantization):
    qwen_14b = ModelDims(40, 5120, 13696, 152064, 40, 40, tied=False)
    for tokens, published in PUBLISHED[quantization].items():
        ends = [
            8 * costs.pass_seconds(qwen_14b, tokens, 6, quantization, costs.A100, end)
            for end in (costs.BEST, costs.WORST)
        ]
        assert np.mean(ends) == pytest.approx(published, rel=0.25)


def test_the_published_one_percent_run_is_met_within_a_quarter():
    """91 steps of 64 padded passes of 4 rows: 190 tokens a row, 1.43 times that with the padding, in 2 to 3 hours."""
    ends = [
        91 * 64 * costs.pass_seconds(QWEN, 4 * 190 * 1.43, 6, "nf4", costs.A100, end) / 3600
        for end in (costs.BEST, costs.WORST)
    ]
    assert 2 * 0.75 < np.mean(ends) < 3 * 1.25


def test_no_checkpointing_saves_a_third_of_the_operations_and_evaluation_costs_a_pass():
    plain, again = (
        costs.seconds(work_of(4, 1e6, 12, 8, every, quantization="none"), costs.A100, costs.BEST)
        for every in (0, 1)
    )
    rate = 2 * (QWEN.linear + QWEN.head) * 1e6 / (312e12 * 0.48 * 1.05)
    assert again - plain == pytest.approx(3 * rate) and plain == pytest.approx((3 * 2 + 2) * rate, rel=0.01)


def test_a_pair_is_two_rows_that_share_nothing_and_a_reference_reads_it_too():
    unquantised = [
        with_values(sections(*names), "model", quantization="none") for names in (["full"], ["full", "dpo"])
    ]
    alone, pairs = (costs.assumed_workload(params, 1) for params in unquantised)
    assert pairs.pass_tokens() / pairs.micro == pytest.approx(
        2 * (alone.lengths.scenario + alone.lengths.own)
    )
    reread = replace(pairs, sections=with_values(dict(pairs.sections), "train", method="sft"))
    passes = [costs.seconds(work, costs.A100, costs.BEST) for work in (pairs, reread)]
    assert passes[0] > 1.3 * passes[1]  # 8 operations for 6 of a checkpointed pass
    needs = [sum(costs.memory(work).values()) for work in (pairs, reread)]
    assert needs[0] > needs[1]


def test_what_is_left_open_is_chosen_by_the_room_of_the_card():
    work = costs.assumed_workload(sections("full"), 1)
    plans = {gib: costs.best_plan(work, replace(costs.A100, memory=gib)).plan for gib in (16, 40, 800)}
    assert plans[16].micro_batch_size < plans[40].micro_batch_size <= plans[800].micro_batch_size == 256
    assert [plans[gib].checkpointed for gib in (16, 800)] == [1, 0]
    for plan in plans.values():
        assert plan.micro_batch_size * plan.grad_accum_steps == 256


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
def test_tokens_are_those_of_the_batches_that_training_reads(layout, tmp_path):
    write_models(tmp_path)
    params = preview([], tmp_path / "params.yaml", tiny.ROOT / "presets")
    changed = with_values(params, "train", max_steps=20, global_batch=16, micro_batch=8)
    changed = with_values(changed, "prompt", max_length=4096, layout=layout)  # every row fits
    train, work = changed["train"], costs.counted_workload(tmp_path, changed, 1)
    table = read_table(tmp_path / "data/splits/train.parquet", RESPONSES)
    data = encode(table, load_tokenizer(tmp_path / "models/base"), layout)
    order = make_schedule(np.arange(len(data)), data.scenario_of_row, 20 * 16, train.group_size, train.seed)
    sizes = pass_tokens(data, by_pass(Rows(data, order, order), 16, 8), 8)
    assert work.tokens == pytest.approx(sizes.sum(), rel=0.1)
    assert work.pass_tokens(costs.LONGEST) == pytest.approx(sizes.max(), rel=0.15)


def test_another_experiments_split_is_not_counted(tmp_path):
    def basis(params: Any) -> str:
        return costs.workload(tmp_path, params, 1).basis[0]

    params = sections()
    assert "not counted, because there is no data/raw/manifest.json" in basis(params)
    data, sample, split = (params[name].model_dump() for name in ("data", "sample", "split"))
    write_json(tmp_path / "data/raw/manifest.json", {"source": "synthetic", "world": data["synthetic"]})
    write_json(tmp_path / "data/sample/manifest.json", {"sample": sample})
    write_json(tmp_path / "data/splits/manifest.json", {"split": split})
    write_json(tmp_path / "models/base/manifest.json", {"kind": "builtin"})
    with pytest.raises(DataError, match=r"train\.parquet"):  # it would be counted
        basis(params)
    others = {
        "data/raw": sections("one-percent"),
        "data/splits": with_values(params, "split", seed=43),
        "models/base": {**params, "model": sections("full")["model"]},
    }
    for folder, other in others.items():
        assert f"{folder}/manifest.json was made with other params" in basis(other)
    assert "(split.seed" in basis(others["data/splits"])


def test_the_published_steps_are_met():
    published = {"one-percent": 364, "one-percent paper-settings": 91, "full": 9644, "one-percent smoke": 10}
    for names, steps in published.items():
        found = costs.assumed_workload(sections(*names.split()), 1).plan.max_steps
        assert found == pytest.approx(steps, rel=0.06)


def test_what_does_not_fit_has_no_hours():
    params = with_values(sections("one-percent"), "model", quantization="none")
    params = with_values(params, "train", micro_batch=4, gradient_checkpointing=True)
    found = {row["machine"]: row for row in costs.estimates(costs.assumed_workload(params, 1))}
    assert not found["L4"]["hours"] and found["L4"]["bytes"] > found["L4"]["room"]
    assert found["A100-80"]["hours"] and 28 < found["A100-80"]["bytes"] / GIB < 60


def test_your_price_is_used_for_all_machines_together():
    for row in costs.estimates(
        costs.assumed_workload(with_values(sections("full"), "run", usd_per_hour=10.0), 4)
    ):
        assert row["usd"] == (row["hours"] and pytest.approx([10 * hours for hours in row["hours"]]))


def test_what_was_measured_on_a_card_takes_the_place_of_its_estimate(tmp_path):
    work = costs.assumed_workload(sections("full"), 1)
    assert costs.measured(tmp_path) is None
    h100 = next(gpu for gpu in costs.GPUS if gpu.name == "H100")
    guessed = 4 * costs.pass_seconds(QWEN, 4000, 4, "nf4", h100, costs.BEST)
    steps = {"gpu": "NVIDIA H100 80GB HBM3", "gib": 79.1, "model": "Qwen/Qwen2.5-14B-Instruct", "quantization": "nf4",
             "passes": 4, "tokens": 4000.0, "checkpointed": 0, "seconds": 2 * guessed}  # fmt: skip
    write_json(tmp_path / "runs/gpu.json", steps)
    timed = costs.measured(tmp_path)
    assert timed
    plain, found = (
        {row["machine"]: row["hours"] for row in costs.estimates(work, one)} for one in (None, timed)
    )
    for machine, hours in found.items():
        assert (hours == plain[machine]) == (machine != "H100")
    start = 2 * QWEN.whole / 1e9 * 10 / 3600  # hours in which weights are read
    assert found["H100"][0] - start == pytest.approx(2 * (plain["H100"][0] - start))
    assert f"{2 * guessed:.3g} s a step of Qwen" in " ".join(costs.assumptions(work, timed))


def test_an_unknown_model_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = sections("full")["model"].model_copy(update={"name": "nobody/knows"})
    with pytest.raises(ModelError, match="nobody/knows: its size is not known"):
        costs.model_dims(model)


def test_the_command_lists_what_it_assumes_and_writes_nothing(tmp_path, monkeypatch):
    shutil.copy(tiny.ROOT / "params.yaml", tmp_path)
    shutil.copytree(tiny.ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "params.yaml").read_bytes()
    result = CliRunner().invoke(app, ["estimate", "one-percent", "smoke"])
    assert result.exit_code == 0, result.output
    for text in ("10 steps", "A100-40", "All of it is estimated", "QwenLM/Qwen", "tokens are not counted"):
        assert text in result.stdout
    told = json.loads(CliRunner().invoke(app, ["estimate", "full", "--gpus", "4", "--json"]).stdout)
    assert told["assumed"][1:] == costs.assumptions(costs.assumed_workload(sections("full"), 4))
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert isinstance(CliRunner().invoke(app, ["estimate", "fulll"]).exception, ParamsError)
