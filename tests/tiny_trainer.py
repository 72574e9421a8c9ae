"""The smallest training that has everything a resume can get wrong: dropout in the model and in the adapter,
accumulated gradients, shuffled epochs, evaluations, and evaluation and save intervals that do not divide one
another."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from socrates.runs import checkpoints
from socrates.runs.backup import Store
from socrates.runs.launch import Process
from socrates.runs.params import Run
from socrates.runs.session import log_history, training_session
from socrates.training.config import common_arguments
from tests import killing

STEPS = 16
SAVE_STEPS = 4
TIMING = ("runtime", "per_second")  # endings of what differs from run to run


class Poisoned(Trainer):
    """One whose loss turns into NaN at step 6."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        return loss * float("nan") if self.state.global_step == 5 else loss


class Rising(Trainer):
    """One whose loss rises with every step."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return super().training_step(*args, **kwargs) * 0 + self.state.global_step + 1


class Untrainable(Trainer):
    """One that must not be trained."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a trainer was made")


def token_rows(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Random rows of one length."""
    tokens = torch.randint(0, 64, (count, 12), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": row} for row in tokens]


class OnStep(TrainerCallback):
    """Calls ``act`` at an event of a step, when it has been logged if no other is named."""

    def __init__(self, act: Any, step: int | None = None, event: str = "on_log") -> None:
        def at_event(args: Any, state: Any, control: Any, **_: Any) -> None:
            if step in (None, state.global_step):
                act()

        setattr(self, event, at_event)


def run_params(**changes: Any) -> Run:
    """The section ``run`` of a tiny training; ``backup_url`` and ``stop_seconds`` go into its backup."""
    given = {"url": changes.pop("backup_url", None), "stop_seconds": changes.pop("stop_seconds", 90)}
    backup = {"finish_minutes": 1, "endpoint_url": None} | given
    values = {"save_steps": SAVE_STEPS, "log_steps": 1000, "keep_checkpoints": 2, "usd_per_hour": 0.0,
              "stall_minutes": None, "backup": backup}  # fmt: skip
    return Run.model_validate(values | changes)


def build(run: Run, kind: type[Trainer] = Trainer, **changes: Any) -> Trainer:
    """A trainer over 2 epochs of 8 optimiser steps each, on one CPU thread."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    set_seed(3)
    config = Qwen2Config(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, attention_dropout=0.1)  # fmt: skip
    lora = LoraConfig(r=4, lora_dropout=0.2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(Qwen2ForCausalLM(config), lora)
    settings = common_arguments(run) | {
        **{"num_train_epochs": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        **{"learning_rate": 1e-2, "lr_scheduler_type": "cosine", "warmup_steps": 2},
        **{"eval_strategy": "steps", "eval_steps": 5, "eval_on_start": True, "seed": 3, "data_seed": 3},
    }
    args = TrainingArguments(**settings | changes)
    trainer = kind(model, args, train_dataset=token_rows(32, 1), eval_dataset=token_rows(8, 2))
    trainer.remove_callback(PrinterCallback)
    return trainer


def checkpoint_root(folder: Path) -> Path:
    """Where a training in ``folder`` has its checkpoints."""
    (root,) = (folder / "scratch/train").iterdir()
    return root


def train(
    folder: Path,
    kill: str | None = None,
    run: dict[str, Any] | None = None,
    kind: type[Trainer] = Trainer,
    on_step: OnStep | None = None,
    **changes: Any,
) -> None:
    """Train in ``folder`` to the end, from the newest checkpoint in its scratch folder or on the backup, and write
    adapter and curve under ``folder / "out"``; or die at ``kill``, after what was finished is backed up."""
    if kill:
        killing.arm(kill)
    os.environ["SOCRATES_SCRATCH"] = str(folder / "scratch")
    params, steps = run_params(**run or {}), changes.get("max_steps", STEPS)
    with training_session("train", Process(0, 1), {"steps": steps}, params, steps, folder / "log") as session:
        if not session.trained:
            trainer = build(params, kind, **changes)
            session.prepare(trainer.args)
            if kill and session.backup:
                trainer.add_callback(OnStep(lambda: session.backup.drain(60)))
            if on_step:
                trainer.add_callback(on_step)
            session.train(trainer)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    shutil.copy(session.last_checkpoint / "adapter_model.safetensors", out)
    entries = log_history(session.last_checkpoint)
    curve = [{key: entry[key] for key in entry if not key.endswith(TIMING)} for entry in entries]
    (out / "curve.json").write_text(json.dumps(curve, sort_keys=True))
    resumed_from = checkpoints.step_of(session.resume) if session.resume else None
    (out / "resumed_from").write_text(str(resumed_from))


def train_until_notice(
    folder: Path,
    hang: str = "",
    stop_seconds: float = 90.0,
    number: int = signal.SIGTERM,
    event: str = "on_log",
    step: int = 6,
) -> None:
    """A training that gets a signal at an event of a step while ``hang`` ("store" or "save") never ends."""

    def notice() -> None:
        if hang == "save":
            checkpoints.write_manifest = lambda *_, **__: time.sleep(3600)  # type: ignore[assignment]
        if number == signal.SIGHUP:  # who read the output is gone too
            reading, writing = os.pipe()
            os.close(reading)
            os.dup2(writing, 2)
        os.kill(os.getpid(), number)

    if hang == "store":
        Store.put = lambda *_: time.sleep(3600)  # type: ignore[method-assign]
    run = {"backup_url": str(folder / "nas") if hang else None, "stop_seconds": stop_seconds, "log_steps": 1}
    train(folder, run=run, on_step=OnStep(notice, step, event))
