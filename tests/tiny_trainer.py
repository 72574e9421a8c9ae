"""The smallest training that has everything a resume can get wrong: dropout in the model and in the adapter,
accumulated gradients, shuffled epochs, evaluations, and log, evaluation and save intervals that do not divide
one another."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from socrates.runs import checkpoints
from socrates.runs.backup import Backup, Store, open_store, resume_point
from socrates.runs.callbacks import Durability, Durable
from socrates.runs.guards import Step, Termination
from socrates.runs.launch import Place
from socrates.runs.params import Backup as BackupParams
from socrates.runs.params import Run
from socrates.runs.session import kept_safe
from tests import killing

STEPS = 16
SAVE_STEPS = 4
MARK = "f" * 64  # stands for a fingerprint


class TinyTrainer(Durable, Trainer):
    """A plain Trainer made durable."""


class Poisoned(TinyTrainer):
    """One whose loss turns into NaN at step 6."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        if self.state.global_step == 5:
            assert self._step_loss is not None
            self._step_loss = self._step_loss * float("nan")
        return loss


class Rows(torch.utils.data.Dataset):
    """Random token rows of one length."""

    def __init__(self, rows: int, seed: int) -> None:
        self.tokens = torch.randint(0, 64, (rows, 12), generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[place], "labels": self.tokens[place]}


def build(
    root: Path, durability: Durability, kind: type[TinyTrainer] = TinyTrainer, **changes: Any
) -> TinyTrainer:
    """A trainer over 2 epochs of 8 optimiser steps each, on one CPU thread."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    set_seed(3)
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_dropout=0.1,
    )
    lora = LoraConfig(r=4, lora_dropout=0.2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(Qwen2ForCausalLM(config), lora)
    settings: dict[str, Any] = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "logging_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 5,
        "save_strategy": "steps",
        "save_steps": SAVE_STEPS,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "seed": 3,
        "data_seed": 3,
        **changes,
    }
    arguments = TrainingArguments(output_dir=str(root), **settings)
    trainer = kind(model, arguments, train_dataset=Rows(32, 1), eval_dataset=Rows(8, 2))
    trainer.durability = durability
    return trainer


def train(
    root: Path, out: Path, kill: str | None = None, backup_url: str | None = None, **changes: Any
) -> None:
    """Resume from the newest complete checkpoint under ``root`` or on the backup, train to the end, and write
    adapter and curve under ``out``; or die at ``kill``, after what was finished is backed up."""
    if kill:
        killing.arm(kill)
    root.mkdir(parents=True, exist_ok=True)
    checkpoints.sweep(root)
    store = open_store(backup_url, "train", MARK) if backup_url else None
    newest = resume_point(root, MARK, 1, store)
    durability = Durability(MARK, keep=2)
    if store:
        backup = Backup(store, keep=2)
        durability.on_checkpoint = [backup.submit, lambda _: backup.drain(60)]
    trainer = build(root, durability, eval_on_start=newest is None, **changes)
    result = trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    trainer.model.save_pretrained(out)
    timing = ("runtime", "per_second")
    history = [
        {key: value for key, value in entry.items() if not key.endswith(timing)}
        for entry in trainer.state.log_history
    ]
    (out / "curve.json").write_text(
        json.dumps({"history": history, "train_loss": result.training_loss}, sort_keys=True)
    )
    resumed_from = checkpoints.step_of(newest) if newest else None
    (out / "record.json").write_text(json.dumps({"resumed_from": resumed_from}))


def train_until_terminated(root: Path, out: Path, at_step: int) -> None:
    """Train, get SIGTERM at ``at_step``, and write how it was answered."""

    def notice(step: Step) -> None:
        if step.step == at_step:
            os.kill(os.getpid(), signal.SIGTERM)

    with Termination() as termination:
        durability = Durability(MARK, keep=2, termination=termination, observers=[notice])
        trainer = build(root, durability, eval_on_start=True)
        trainer.train()
    out.mkdir(parents=True, exist_ok=True)
    (out / "terminated.json").write_text(json.dumps([trainer.terminated, trainer.state.global_step]))


def run_until_noticed(folder: Path, hang: str, stop_seconds: float) -> None:
    """A run with a backup in ``folder / "nas"``, given notice at step 5 while ``hang`` ("store" or "save") never
    ends; exits as a stage does."""
    if hang == "store":
        Store.put = lambda *_: time.sleep(3600)  # type: ignore[method-assign]
    os.chdir(folder)
    os.environ["SOCRATES_SCRATCH"] = str(folder / "scratch")
    params = BackupParams(
        url=str(folder / "nas"), endpoint_url=None, finish_minutes=1, stop_seconds=stop_seconds
    )
    watched = Run(
        save_steps=1, log_steps=1, keep_checkpoints=2, usd_per_hour=0.0, stall_minutes=None, backup=params
    )
    with kept_safe("train", Place(0, 1), {}, watched, STEPS, folder / "log.jsonl") as safety:

        def notice(step: Step) -> None:
            if step.step == 5:
                if hang == "save":
                    checkpoints.seal = lambda *_, **__: time.sleep(3600)
                os.kill(os.getpid(), signal.SIGTERM)

        safety.durability.observers = [notice]
        safety.train(build(safety.folder, safety.durability, eval_on_start=True), params.finish_minutes)
