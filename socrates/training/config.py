"""What every trainer is configured with and writes, whatever its loss."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from transformers import PrinterCallback
from transformers.integrations import is_deepspeed_zero3_enabled

from socrates.core.files import atomic_folder, json_text, read_json, sha256, write_table
from socrates.core.params import Section
from socrates.model.internals import disable_deepspeed_kernels
from socrates.model.loading import compute_dtype
from socrates.model.params import Model
from socrates.runs import checkpoints
from socrates.runs.fingerprint import versions
from socrates.runs.launch import DDP_TIMEOUT
from socrates.runs.params import Run
from socrates.runs.session import TRAINER_STATE, log_history
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import BatchPlan

CURVE_ROWS = 75  # about so many rows have the curves
MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")  # endings, in a checkpoint
NOT_MODEL = (checkpoints.MANIFEST, TRAINER_STATE)


@dataclass(frozen=True)
class TrainPaths:
    """Where a training reads and writes."""

    base: Path  # folder of the model that it starts from
    trained: Path  # folder that it writes
    curves: Path  # table that it writes
    run_log: Path  # the machine's record of the run


@dataclass(frozen=True)
class TrainParams:
    """Sections that every training has; ``run`` is the only one that shapes no weights."""

    model: Model
    lora: Lora
    deepspeed: Deepspeed
    run: Run

    def shaping(self, **own: Section) -> dict[str, Section]:
        """All sections that shape the weights, by name: these and ``own``."""
        return {"model": self.model, "lora": self.lora, **own, "deepspeed": self.deepspeed}


def deepspeed_config(params: Deepspeed) -> dict[str, Any] | None:
    """DeepSpeed's configuration; ``auto`` values are filled from the trainer's arguments. None at stage 0: DeepSpeed
    would begin with an optimiser step of zero gradients and add gradients in bfloat16."""
    if not params.zero_stage:
        return None
    if not torch.cuda.is_available():
        disable_deepspeed_kernels()
    # Elements: an adapter has 70 to 280 million, and the buffers of DeepSpeed's 5e8 would take 1 GB each.
    zero: dict[str, Any] = dict.fromkeys(("reduce_bucket_size", "allgather_bucket_size"), 50_000_000)
    if params.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # else only shards are saved
    if params.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if params.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    half = compute_dtype() == torch.bfloat16
    return {
        "zero_optimization": {"stage": params.zero_stage, **zero},
        **({"data_types": {"grad_accum_dtype": "fp32"}} if half else {}),  # sums of many passes lose digits
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": half},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "steps_per_print": 10**9,  # the trainer prints
    }


def common_arguments(run: Run, deepspeed: Deepspeed | None = None, checkpointed: int = 0) -> dict[str, Any]:
    """Arguments of any of transformers' trainers; :class:`socrates.runs.session.TrainingSession` relies on some. Every
    ``checkpointed``-th layer computes its activations twice; 0: none."""
    return {
        "deepspeed": deepspeed_config(deepspeed) if deepspeed else None,
        "bf16": compute_dtype() == torch.bfloat16,
        "activation_checkpointing": checkpointed > 0,
        "activation_checkpointing_kwargs": {"every_n_layers": checkpointed} if checkpointed > 1 else None,
        "output_dir": ".scratch",  # TrainingSession.prepare sets the run's folder
        "use_cpu": not torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,  # every pass uses every trained weight
        "ddp_timeout": int(DDP_TIMEOUT.total_seconds()),  # the main process may be waiting for the backup
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN must be seen
        "save_steps": run.save_steps,
        "optim": "adamw_torch",
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }


def step_arguments(train: Train, run: Run, deepspeed: Deepspeed, plan: BatchPlan) -> dict[str, Any]:
    """Arguments of the two ways to train an adapter: the section ``train`` and a plan of its steps."""
    return {
        **common_arguments(run, deepspeed, plan.checkpointed),
        "train_sampling_strategy": "sequential",  # the rows come in the order of the schedule
        "gradient_accumulation_steps": plan.grad_accum_steps,
        "max_steps": plan.max_steps,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": train.warmup_ratio,  # below 1 it is read as a ratio
        "weight_decay": train.weight_decay,
        "eval_strategy": "steps",
        "eval_steps": train.eval_steps,
        "eval_on_start": True,  # the base model's loss, to compare with; TrainingSession turns it off in a resume
        "prediction_loss_only": True,
        "seed": train.seed,
        "data_seed": train.seed,
    }


def lora_config(lora: Lora) -> LoraConfig:
    """PEFT's configuration of a new adapter."""
    size: dict[str, Any] = {"r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    return LoraConfig(**size, target_modules=sorted(lora.target_modules), task_type="CAUSAL_LM")


class AdapterCheckpoints:
    """A mixin for a Trainer that prints nothing, holds what it trains in float32, and saves the adapter alone.

    Trainer copies the whole state under DeepSpeed to keep a hundredth of it, and PEFT asks the hub for the base
    model's vocabulary. At ZeRO stage 3, where every process holds a part of each weight, Trainer's own way is left.
    """

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.model, PeftModel):
            self.model.register_state_dict_post_hook(_only_trained)
        self.remove_callback(PrinterCallback)
        train_in_float32(self.model, self.args.deepspeed)

    def save_model(self: Any, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write adapter and tokenizer, from the main process."""
        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PeftModel) or is_deepspeed_zero3_enabled():
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
        elif self.args.should_save:
            folder = output_dir or self.args.output_dir
            model.save_pretrained(folder, save_embedding_layers=False)
            self.processing_class.save_pretrained(folder)


def _only_trained(model: torch.nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave out of a state what is frozen: DeepSpeed leaves a tied head and the scales of 4-bit weights in it."""
    trained = {prefix + name for name, weight in model.named_parameters() if weight.requires_grad}
    for name in [name for name in state if name.startswith(prefix) and name not in trained]:
        del state[name]


def train_in_float32(model: torch.nn.Module, deepspeed: object) -> None:
    """Hold what is trained in float32, unless DeepSpeed keeps a float32 copy of bfloat16 weights itself: TRL casts
    adapters of quantised models to bfloat16, in which a step of Adam is often too small to be seen."""
    if not deepspeed or compute_dtype() != torch.bfloat16:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def save_outputs(
    checkpoint: Path, paths: TrainPaths, sections: Mapping[str, Section], curves: pl.DataFrame, **about: Any
) -> None:
    """Write the curves and, from a run's last checkpoint, the trained folder: weights (an adapter or a whole model),
    tokenizer and ``training.json`` with ``about``. Equal weights give equal bytes."""
    record: dict[str, Any] = {
        "params": {name: section.model_dump() for name, section in sections.items()},
        "base": sha256(paths.base / "manifest.json"),
        # without a build's label, as torch's +cpu: the same record on every machine
        "versions": {name: version and version.split("+")[0] for name, version in versions().items()},
        **about,
        "trainable_parameters": 0,
    }
    with atomic_folder(paths.trained) as folder:
        for path in sorted(checkpoint.iterdir()):
            if path.suffix in MODEL_FILES and path.name not in NOT_MODEL:
                shutil.copyfile(path, folder / path.name)
        for path in folder.glob("*.safetensors"):  # what was trained is what is saved
            with safe_open(path, "np") as weights:
                shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
            record["trainable_parameters"] += sum(map(math.prod, shapes))
        if (path := folder / "adapter_config.json").exists():
            config = read_json(path)
            config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set
            path.write_text(json_text(config))
        config = read_json(path := folder / "tokenizer_config.json")
        for name in ("is_local", "local_files_only"):  # where it was loaded from, and HF_HUB_OFFLINE
            config.pop(name, None)
        path.write_text(json_text(config))
        (folder / "training.json").write_text(json_text(record))
    write_table(paths.curves, curves)


def training_curves(checkpoint: Path, names: Mapping[str, str], steps: int) -> pl.DataFrame:
    """The curves up to a checkpoint of a run of so many steps: means of windows, null where not measured. A window's
    row has its last step; an evaluation keeps its own. ``names``: the trainer's to the columns'."""
    window = max(1, steps // CURVE_ROWS)
    schema: dict[str, Any] = {name: pl.Int64 if name == "step" else pl.Float64 for name in names.values()}
    entries = [{names[key]: entry.get(key) for key in names} for entry in log_history(checkpoint)]
    last = pl.min_horizontal((pl.col("step") + window - 1) // window * window, steps)
    step = pl.when(pl.col("loss").is_not_null()).then(last).otherwise("step")
    table = pl.DataFrame(entries, schema=schema).with_columns(step=step)
    return table.group_by("step", maintain_order=True).mean().sort("step")
