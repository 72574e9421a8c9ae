"""What every built-in model is made with: a schedule of optimiser steps, and a folder with a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from socrates.core.files import json_text
from socrates.model.loading import file_hashes
from socrates.model.params import Tiny

Progress = Callable[[Iterable[int]], Iterable[int]]


def optimise(
    model: PreTrainedModel, step_loss: Callable[[], torch.Tensor], tiny: Tiny, progress: Progress = iter
) -> list[float]:
    """Train a new model for ``tiny.pretrain_steps`` steps and return the loss of each.

    ``step_loss`` gives the loss of the next step's rows, with its graph.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=tiny.pretrain_learning_rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, tiny.pretrain_learning_rate, total_steps=tiny.pretrain_steps, pct_start=0.1
    )
    losses: list[float] = []
    model.train()
    for _ in progress(range(tiny.pretrain_steps)):
        loss = step_loss()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses


def save_builtin(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, losses: list[float], folder: Path
) -> str:
    """Save tokenizer, weights (safetensors) and ``manifest.json``; returns one line about the model."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = {
        "kind": "builtin",
        "parameters": model.num_parameters(),
        "pretrain_loss": {"first": losses[0], "last": losses[-1]},
        "files": file_hashes(folder),
    }
    (folder / "manifest.json").write_text(json_text(manifest))
    return (
        f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens, "
        f"pre-training loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps"
    )
