"""The largest micro batch that a GPU holds, found by trying: ``train.micro_batch: null``.

The rows tried are the longest there are, forward and backward, while the room that the optimiser and
DeepSpeed will take is held. What is found changes how a step is cut into passes, never the global batch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import get_peft_model

from socrates.core.errors import TrainingError
from socrates.model.encoding import Encoded
from socrates.model.loading import device, load_base
from socrates.model.params import Model
from socrates.model.prefix_sharing import to_device, use_prefix_sharing
from socrates.training.collator import SharedCollator
from socrates.training.config import lora_config
from socrates.training.params import Lora, Train

STATE_BYTES = 14  # of a trainable weight: a float32 copy, Adam's two moments, a gradient being reduced
BUFFERS = 2 * 2**30  # bytes; DeepSpeed's buckets


def largest(share: int, attempt: Callable[[int], None]) -> int:
    """The largest divisor of ``share`` that can be computed at once.

    Args:
        share: rows of one process in an optimiser step.
        attempt: computes that many rows; raises :class:`torch.OutOfMemoryError` where they do not fit.

    Raises:
        TrainingError: not even one row fits.
    """
    fits = 0
    for size in (size for size in range(1, share + 1) if share % size == 0):
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            break
        finally:
            _free()
        fits = size
    if not fits:
        raise TrainingError(
            "train.micro_batch: not even one row fits into the GPU's memory; lower prompt.max_length or "
            "lora.r, or set train.gradient_checkpointing: true"
        )
    return fits


def find(
    base: Path,
    params: Model,
    lora: Lora,
    train: Train,
    data: Encoded,
    rows: NDArray[np.int64],
    processes: int,
) -> int:
    """The micro batch for this run: the smallest that any process's GPU found largest.

    The processes must have found each other. The model is loaded for the trial and let go.

    Args:
        rows: of ``data``, that training reads.
    """
    found = _tried(load_base(base, params), lora, train, data, rows, train.global_batch // processes)
    _free()
    if processes > 1:
        all_found = torch.tensor([found], device=device())
        torch.distributed.all_reduce(all_found, torch.distributed.ReduceOp.MIN)
        found = int(all_found.item())
    return found


def _tried(model: Any, lora: Lora, train: Train, data: Encoded, rows: NDArray[np.int64], share: int) -> int:
    if train.share_scenario:
        use_prefix_sharing(model)
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    # In the compute type, in which training holds the adapter too: float32 passes would take more memory.
    model = get_peft_model(model, lora_config(lora), autocast_adapter_dtype=False).train()
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    held = STATE_BYTES * trainable + BUFFERS if torch.cuda.is_available() else 0
    _room = torch.empty(held, dtype=torch.uint8, device=device())
    longest = rows[np.argsort(-data.lengths()[rows], kind="stable")]
    return largest(share, lambda size: one_pass(model, data, longest[:size], train.share_scenario))


def one_pass(model: Any, data: Encoded, rows: NDArray[np.int64], shared: bool) -> None:
    """Forward and backward of some rows, as training does them; the gradients are thrown away."""
    if shared:
        inputs = SharedCollator(data)([{"rows": rows.tolist()}])
    else:
        length = int(data.lengths()[rows].max())
        ids = torch.ones((len(rows), length), dtype=torch.int64)
        inputs = {"input_ids": ids, "attention_mask": ids, "labels": ids}
    model(**to_device(inputs, device())).loss.backward()
    model.zero_grad(set_to_none=True)


def _free() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
