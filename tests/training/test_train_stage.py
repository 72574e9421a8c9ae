"""The real train stage on a two-layer model: files, resume, processes, refusals."""

import json
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open

from socrates.core.params import load
from socrates.model.loading import load_base
from socrates.model.params import Model
from socrates.runs.session import deepspeed_classes
from socrates.training.config import AdapterCheckpoints
from tests import forked, tiny
from tests.forked import in_process
from tests.training_runs import STEPS, adapter, changed, copy, losses, run, train


def test_the_adapter_folder_is_complete_and_loads(done):
    names = {path.name for path in (done / "models/adapter").iterdir()}
    expected = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "training.json"}
    assert expected <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    settings = json.loads((done / "models/adapter/tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only"} & set(settings)  # the second says whether the hub was off
    record = json.loads((done / "models/adapter/training.json").read_text())
    assert record["processes"] == 1  # dropout is drawn by each, so that their number counts
    assert not any("+" in (version or "") for version in record["versions"].values())  # a build's label
    assert record["steps"] == STEPS and record["rows"] == 8 * STEPS and record["loss"] > 0
    model = load(Model, done / "params.yaml")
    PeftModel.from_pretrained(load_base(done / "models/base", model), done / "models/adapter")


def test_a_checkpoint_holds_no_frozen_weight_and_no_scale_of_one(done):
    """By its bytes too: the adapter, DeepSpeed's float32 copy of it with Adam's two moments, and files of any model."""
    (checkpoint,) = (done / "scratch").glob(f"train/*/checkpoint-{STEPS}")
    with torch.serialization.safe_globals(deepspeed_classes()):
        state = torch.load(next(checkpoint.glob("global_step*/*model_states.pt")), weights_only=True)
    assert state["module"] and all("lora_" in name for name in state["module"])
    files = [path for path in checkpoint.rglob("*") if path.suffix in (".pt", ".safetensors")]
    assert sum(path.stat().st_size for path in files) < 6 * len(adapter(done)) + 100_000


def test_curves_have_every_column_at_its_steps(done):
    curves = pl.read_csv(done / "metrics/train.csv")
    assert curves["step"].to_list() == list(range(STEPS + 1))
    trained = curves.filter(pl.col("step") > 0)
    for name in ("loss", "answer_token_accuracy", "entropy", "gradient_norm", "learning_rate"):
        assert trained[name].null_count() == 0, name
    assert curves.filter(pl.col("validation_loss").is_not_null())["step"].to_list() == [0, 4, 8]


@pytest.mark.parametrize("place", ["2:training", "3:hashed", "6:committed"])
def test_killed_anywhere_it_ends_bit_for_bit_the_same(place, ready, done, tmp_path):
    folder = copy(ready, tmp_path / "run")
    assert train(folder, place) == -signal.SIGKILL
    assert not (folder / "models/adapter").exists()
    assert train(folder) == 0
    assert adapter(folder) == adapter(done)
    assert (folder / "metrics/train.csv").read_bytes() == (done / "metrics/train.csv").read_bytes()


def test_preferences_start_at_the_base_model_learn_and_survive_a_kill(ready, tmp_path):
    preferences = {"method": "dpo", "gradient_checkpointing": True, "max_steps": 4, "eval_steps": 2}
    whole, killed = (copy(ready, tmp_path / name, train=preferences) for name in "ab")
    assert train(whole) == 0
    curves = pl.read_csv(whole / "metrics/train.csv")
    assert curves["validation_loss"][0] == pytest.approx(np.log(2), rel=1e-5)  # of the reference itself
    assert curves["loss"].min() < np.log(2) and curves["answer_token_accuracy"].null_count() == 1  # of step 0
    assert train(killed, "3:committed") == -signal.SIGKILL
    assert train(killed) == 0
    assert adapter(killed) == adapter(whole)
    assert curves.equals(pl.read_csv(killed / "metrics/train.csv"))


WAYS = [{"train": {"micro_batch": 8}}, {"train": {"micro_batch": 2, "gradient_checkpointing": True}},
        {"deepspeed": {"zero_stage": 0}}, {"deepspeed": {"zero_stage": 1}}]  # fmt: skip


@pytest.mark.parametrize("changes", WAYS, ids=str)
def test_other_ways_of_computing_train_the_same_adapter(changes, ready, without_dropout, tmp_path):
    folder = copy(ready, tmp_path / "run", lora={"dropout": 0.0}, **changes)
    assert train(folder) == 0
    np.testing.assert_allclose(losses(folder), losses(without_dropout), rtol=1e-5)


@pytest.fixture(scope="module")
def gpu_like(ready, tmp_path_factory):
    """A run with the types of a GPU: NF4 in bfloat16, checkpointed, ZeRO-1, the persona first."""
    folder = copy(
        ready, tmp_path_factory.mktemp("bfloat16") / "run", train={"gradient_checkpointing": True},
        lora={"dropout": 0.05}, deepspeed={"zero_stage": 1}, prompt={"layout": "persona_first"},
    )  # fmt: skip
    assert train(folder, bfloat16=True) == 0
    return folder


def test_with_the_types_of_a_gpu_a_killed_run_ends_bit_for_bit_the_same(gpu_like, ready, tmp_path):
    folder = copy(ready, tmp_path / "run")
    shutil.copy(gpu_like / "params.yaml", folder)
    assert train(folder, "5:training", bfloat16=True) == -signal.SIGKILL
    assert train(folder, bfloat16=True) == 0
    assert adapter(folder) == adapter(gpu_like)
    # DeepSpeed holds what it trains in float32, and the adapter is saved as it was computed with.
    with safe_open(folder / "models/adapter/adapter_model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_with_the_types_of_a_gpu_both_models_predict_and_merging_keeps_the_answers(gpu_like):
    shutil.copy((gpu_like / "data/splits/val.parquet").resolve(), gpu_like / "data/splits/test.parquet")
    changed(gpu_like, predict={"tokens_per_batch": 2048})
    for name in ("base", "adapter"):
        assert in_process(forked.stage, "stages.predict", gpu_like, None, name, bfloat16=True) == 0
        table = pl.read_parquet(gpu_like / f"data/predictions/{name}/predictions.parquet")
        assert np.isfinite(np.concatenate(table["probabilities"].to_list())).all()
    assert in_process(merged, gpu_like) == 0
    assert in_process(asked_in_the_types_of_training, gpu_like) == 0


def asked_in_the_types_of_training(folder):
    """The adapter predicts in bfloat16, which moves no probability by 0.002; for a process of its own."""
    from socrates.model.encoding import encode
    from socrates.model.loading import load_model, load_tokenizer
    from socrates.prediction.distributions import predict_distributions

    forked.compute_in_bfloat16()
    base = folder / "models/base"
    model = load_model(base, folder / "models/adapter", load(Model, folder / "params.yaml"))
    tokenizer = load_tokenizer(base)
    table = pl.read_parquet(folder / "data/splits/test.parquet").drop_nulls("scale").head(40)
    data = encode(table, tokenizer, "persona_first")
    weights = [weight for name, weight in model.named_parameters() if "lora_" in name]
    answers = []
    for dtype in (torch.bfloat16, torch.float32):
        assert dtype == torch.float32 or {weight.dtype for weight in weights} == {dtype}
        for weight in weights:
            weight.data = weight.data.to(dtype)
        answers.append(predict_distributions(model, tokenizer, data, table["scale"].to_list(), 2048)[0])
    assert max(float(np.abs(a - b).max()) for a, b in zip(*answers, strict=True)) < 2e-3  # 0.0012 was seen


def merged(folder):
    """Merge base and adapter with the types of a GPU; for a process of its own."""
    from socrates.tools.merge import merge

    forked.compute_in_bfloat16()
    merge(folder, folder / "merged", tolerance=0.02)


def test_a_checkpoint_copies_no_frozen_weight_and_asks_no_hub(tmp_path, monkeypatch):
    model = get_peft_model(tiny.model(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.peft_config["default"].base_model_name_or_path = "nobody/knows"
    asks = "peft.utils.save_and_load.check_file_exists_on_hf_hub"
    monkeypatch.setattr(asks, lambda *_, **__: pytest.fail("asked"))
    trainer = object.__new__(AdapterCheckpoints)
    trainer.accelerator = SimpleNamespace(unwrap_model=lambda model: model)
    trainer.model, trainer.processing_class = model, tiny.tokenizer()
    trainer.args = SimpleNamespace(should_save=True, output_dir=str(tmp_path))
    copied = 0
    clone = torch.Tensor.clone

    def counted(tensor, *args, **kwargs):
        nonlocal copied
        copied += tensor.nbytes
        return clone(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "clone", counted)
    trainer.save_model(str(tmp_path))
    adapter = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert copied <= adapter < (tmp_path / "adapter_model.safetensors").stat().st_size < 2 * adapter


def test_rows_that_are_all_too_long_are_refused_with_the_limit_and_the_shortest(ready, tmp_path):
    folder = copy(ready, tmp_path / "run", prompt={"max_length": 64})
    result = run(folder)
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: prompt.max_length: all [\d,]+ training rows are longer than 64 tokens, the shortest has \d+; raise it",
        result.stderr.splitlines()[-1],
    )
    assert not (folder / "models/adapter").exists()


def out_of_memory(folder):
    """The stage on a card that is too small; for a process of its own."""
    from trl import SFTTrainer

    def training_step(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    SFTTrainer.training_step = training_step
    forked.stage("stages.train", folder)


def test_running_out_of_memory_names_the_setting_to_change(ready, tmp_path):
    folder = copy(ready, tmp_path / "run")
    result = forked.captured(out_of_memory, folder)
    assert result.returncode == 1
    assert "out of memory with passes of 4 rows: lower train.micro_batch" in result.stderr.splitlines()[-1]
    assert not (folder / "models/adapter").exists()
