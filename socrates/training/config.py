"""What every trainer is set up with and leaves behind, whatever its loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deepspeed.ops
import polars as pl
import torch
from peft import LoraConfig
from transformers import PreTrainedModel, Trainer

from socrates.core.files import atomic_folder, json_text, read_json, sha256, write_table
from socrates.core.params import Section
from socrates.model.loading import compute_dtype
from socrates.runs.fingerprint import versions
from socrates.training.job import Job
from socrates.training.params import Deepspeed, Lora


def deepspeed_config(params: Deepspeed) -> dict[str, Any]:
    """DeepSpeed's configuration; ``auto`` values are filled from the trainer's arguments.

    On a CPU, DeepSpeed would compile a kernel of its own for sums over processes when it first starts,
    half a minute for what gloo does too, under a lock file that a killed process leaves behind and every later start
    waits for: it is told that no such kernel can be had here.
    """
    if not torch.cuda.is_available():
        deepspeed.ops.__compatible_ops__ = {}
    zero: dict[str, Any] = {"stage": params.zero_stage}
    if params.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # else only shards are saved
    if params.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if params.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    half = compute_dtype() == torch.bfloat16
    return {
        "zero_optimization": zero,
        # Sums of many passes lose digits in bfloat16. Stage 0 refuses another type.
        **({"data_types": {"grad_accum_dtype": "fp32"}} if half and params.zero_stage else {}),
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": half},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "steps_per_print": 10**9,  # the trainer prints
    }


def lora_config(lora: Lora) -> LoraConfig:
    """PEFT's configuration of a new adapter."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
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
        config = read_json(path)
        config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set
        path.write_text(json_text(config))
    path = folder / "tokenizer_config.json"
    config = read_json(path)
    for name in ("is_local", "local_files_only"):  # where it was loaded from, and HF_HUB_OFFLINE
        config.pop(name, None)
    path.write_text(json_text(config))


def leave(
    trainer: Trainer,
    job: Job,
    sections: Mapping[str, Section],
    names: Mapping[str, str],
    about: dict[str, Any],
) -> pl.DataFrame:
    """Write what a job leaves behind, and return its curves.

    The folder gets the weights, the tokenizer and ``training.json``: params, the base model's hash, the
    versions of what computes, and ``about``.

    Args:
        sections: from :meth:`Job.sections`.
        names: of the curves, see :func:`curve_table`.
    """
    record = {
        "params": {name: section.model_dump() for name, section in sections.items()},
        "base": sha256(job.base / "manifest.json"),
        "versions": versions(),
        **about,
    }
    curves = curve_table(trainer.state.log_history, names)
    with atomic_folder(job.trained) as folder:
        save_weights(trainer, folder)
        (folder / "training.json").write_text(json_text(record))
    write_table(job.curves, curves)
    return curves


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
