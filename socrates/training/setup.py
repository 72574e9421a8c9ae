"""What every trainer is set up with and leaves behind, whatever its loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import torch
from peft import LoraConfig
from transformers import PreTrainedModel, Trainer

from socrates.files import json_text, sha256
from socrates.model.base import compute_dtype
from socrates.params import Section
from socrates.params.deepspeed import Deepspeed
from socrates.params.lora import Lora

PACKAGES = ["torch", "transformers", "trl", "peft", "bitsandbytes", "deepspeed", "accelerate"]


def deepspeed_config(deepspeed: Deepspeed) -> dict[str, Any]:
    """DeepSpeed's configuration; ``auto`` values are filled from the trainer's arguments.

    Its collectives are those of the backend (NCCL, gloo): see :func:`leave_out_compiled_collectives`.
    """
    leave_out_compiled_collectives()
    zero: dict[str, Any] = {"stage": deepspeed.zero_stage}
    if deepspeed.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # else only shards are saved
    if deepspeed.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if deepspeed.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": compute_dtype() == torch.bfloat16},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "steps_per_print": 10**9,  # the trainer prints
    }


def leave_out_compiled_collectives() -> None:
    """Keep DeepSpeed from compiling its shared-memory collectives for CPUs, which gloo replaces.

    They take a minute to compile, under a lock file that a killed process leaves behind and every later
    start then waits for, for ever.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def lora_config(lora: Lora) -> LoraConfig:
    """PEFT's configuration of a new adapter."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.scaling_alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def train_in_float32(model: PreTrainedModel) -> None:
    """Undo TRL's cast of QLoRA adapters to bfloat16; without bfloat16 compute that only loses digits."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def save_weights(trainer: Trainer, folder: Path) -> None:
    """Write what was trained (an adapter or a whole model) and the tokenizer, with the same bytes for the
    same weights."""
    trainer.save_model(str(folder))
    for name in ("training_args.bin", "README.md"):  # a pickle, and a page about nothing
        (folder / name).unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text())
        config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set
        path.write_text(json_text(config))


def record(sections: Mapping[str, Section], base: Path) -> dict[str, Any]:
    """What a run was made from: its params, the base model's hash, the versions of what computes."""
    return {
        "params": {name: section.model_dump() for name, section in sections.items()},
        "base": sha256(base / "manifest.json"),
        "versions": {name: version(name) for name in PACKAGES},
    }


def curve_table(history: list[dict[str, Any]], names: Mapping[str, str]) -> pl.DataFrame:
    """The trainer's log as one row per logged step, null where not measured.

    ``names`` maps the trainer's names to the columns, ``step`` first.
    """
    steps: dict[int, dict[str, Any]] = {}
    for entry in history:
        row = steps.setdefault(entry["step"], dict.fromkeys(names.values()))
        row.update({names[key]: value for key, value in entry.items() if key in names})
    schema: dict[str, Any] = {name: pl.Int64 if name == "step" else pl.Float64 for name in names.values()}
    return pl.DataFrame([steps[step] for step in sorted(steps)], schema=schema)
