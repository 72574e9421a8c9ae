"""The largest micro batch that a GPU holds, found by trying: ``train.micro_batch: null``.

The rows tried are the longest there are, forward and backward, while the room that the optimiser and
DeepSpeed will take is held. The result changes how a step is cut into passes, never the global batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import find_executable_batch_size, send_to_device
from accelerate.utils.memory import clear_device_cache
from numpy.typing import NDArray
from peft import get_peft_model

from socrates.core.errors import TrainingError
from socrates.model.encoding import Encoded
from socrates.model.loading import device, load_base
from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.training.collator import Rows, SharedCollator
from socrates.training.config import TrainParams, lora_config
from socrates.training.params import Train

STATE_BYTES = 14  # of a trainable weight: a float32 copy, Adam's two moments, a gradient being reduced
BUFFERS = 2 * 2**30  # bytes; DeepSpeed's buckets


def find_micro_batch_size(base: Path, params: TrainParams, train: Train, rows: Rows, share: int) -> int:
    """The largest divisor of ``share`` that every process's GPU can train on at once.

    The model is loaded for the trial and let go. The process group must be initialised if there is one.

    Args:
        share: rows of one process in an optimiser step.

    Raises:
        TrainingError: not even one row fits.
    """
    size = torch.tensor([_largest(base, params, train, rows, share)], device=device())
    clear_device_cache(garbage_collection=True)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(size, torch.distributed.ReduceOp.MIN)
    return int(size.item())


def _largest(base: Path, params: TrainParams, train: Train, rows: Rows, share: int) -> int:
    model = _trainable(base, params, train)
    longest = np.unique(rows.train)
    longest = longest[np.argsort(-rows.data.lengths()[longest], kind="stable")]
    divisors = [size for size in range(1, share + 1) if share % size == 0]

    def next_smaller() -> int:
        divisors.pop()
        return divisors[-1] if divisors else 0

    @find_executable_batch_size(starting_batch_size=share, reduce_batch_size_fn=next_smaller)
    def attempt(size: int) -> int:
        forward_backward(model, rows.data, longest[:size], train.share_scenario)
        return size

    try:
        return attempt()
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        raise TrainingError(
            "train.micro_batch: not even one row fits into the GPU's memory; lower prompt.max_length or "
            "lora.r, or set train.gradient_checkpointing: true"
        ) from None


def _trainable(base: Path, params: TrainParams, train: Train) -> Any:
    """The base model with a new adapter, and the optimiser's memory held for as long as the model lives."""
    model: Any = load_base(base, params.model)
    if train.share_scenario:
        use_prefix_sharing(model)
    if train.gradient_checkpointing:
        model.activation_checkpointing_enable()
        model.enable_input_require_grads()
    # In the compute type, in which training holds the adapter too: float32 passes would take more memory.
    model = get_peft_model(model, lora_config(params.lora), autocast_adapter_dtype=False).train()
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    held = STATE_BYTES * trainable + BUFFERS if torch.cuda.is_available() else 0
    model.optimizer_memory = torch.empty(held, dtype=torch.uint8, device=device())
    return model


def forward_backward(model: Any, data: Encoded, rows: NDArray[np.int64], shared: bool) -> None:
    """Forward and backward of some rows, as training does them; the gradients are thrown away."""
    if shared:
        inputs = SharedCollator(data)([{"rows": rows.tolist()}])
    else:
        length = int(data.lengths()[rows].max())
        ids = torch.ones((len(rows), length), dtype=torch.int64)
        inputs = {"input_ids": ids, "attention_mask": ids, "labels": ids}
    try:
        model(**send_to_device(inputs, device())).loss.backward()
    finally:
        model.zero_grad(set_to_none=True)
