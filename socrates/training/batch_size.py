"""Rows of a pass and gradient checkpointing, where params leave them null: found by trying on the GPU. Tried are passes
of the run's own schedule, forward and backward, while the room that the optimiser will take is held: the pass with the
most tokens for memory, a middling one for speed. The result changes how a step is cut, never the global batch."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from accelerate.utils.memory import clear_device_cache
from peft import get_peft_model

from socrates.core.errors import TrainingError
from socrates.model.encoding import Encoded
from socrates.model.jagged import Ints
from socrates.model.loading import device, load_base
from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.training.collator import Rows, by_pass, pass_tokens, training_batch
from socrates.training.config import TrainParams, lora_config
from socrates.training.params import Train
from socrates.training.schedule import BatchPlan

# Of a trainable weight: a float32 copy, Adam's two moments, a float32 gradient and its bfloat16 sum.
STATE_BYTES = 18
BUFFERS = 2**30  # bytes; DeepSpeed's buckets
CHECKPOINTED = {0: "no checkpointing", 2: "every second layer", 1: "every layer"}


def find_plan(
    base: Path, params: TrainParams, train: Train, rows: Rows, plan: BatchPlan
) -> tuple[BatchPlan, str]:
    """The plan with the rows of a pass and the checkpointing that train fastest, the same for all processes, and what
    was tried in words. The model is loaded for the trial and let go."""
    share = plan.micro_batch_size * plan.grad_accum_steps
    sizes, ways = [plan.micro_batch_size], [plan.checkpointed]
    if train.micro_batch is None:
        sizes = [n for n in range(share, 0, -1) if share % n == 0]
    if train.gradient_checkpointing is None:
        ways = list(CHECKPOINTED)
    model, tried = _trainable(base, params), {}
    for every in ways:
        checkpoint(model, every)
        size = -int(_agreed(-_largest(model, rows, train.global_batch, sizes)))
        if size:
            tried[every, size] = size / _agreed(_seconds(model, rows, train.global_batch, size))
    del model
    clear_device_cache(garbage_collection=True)
    if not tried:
        raise TrainingError(
            "train.micro_batch: not even one row fits into the GPU's memory; lower prompt.max_length or "
            "lora.r, or set train.gradient_checkpointing: true"
        )
    every, size = max(tried, key=lambda way: tried[way])
    said = [f"{CHECKPOINTED[e]}, {n} rows: {speed:.3g} rows/s" for (e, n), speed in tried.items()]
    chosen = f"passes of {size} rows, {CHECKPOINTED[every]} (tried: {'; '.join(said)})"
    return BatchPlan(plan.max_steps, size, share // size, every), chosen


def _agreed(value: float) -> float:
    """The largest of all processes."""
    tensor = torch.tensor(float(value), dtype=torch.float64, device=device())
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
    return float(tensor)


def _trial_passes(rows: Rows, global_batch: int, size: int) -> tuple[Ints, Ints]:
    """The rows of the longest pass of a size, and of a middling one."""
    order = by_pass(rows, global_batch, size)
    tokens = pass_tokens(rows.data, order, size)
    longest, middle = int(np.argmax(tokens)), int(np.argsort(tokens)[len(tokens) // 2])
    return order[longest * size :][:size], order[middle * size :][:size]


def _largest(model: Any, rows: Rows, global_batch: int, sizes: list[int]) -> int:
    """The first of the sizes whose longest pass fits; 0 where none does."""
    for size in sizes:
        try:
            forward_backward(model, rows.data, _trial_passes(rows, global_batch, size)[0])
            return size
        except torch.OutOfMemoryError:
            pass  # the error holds on to the pass's tensors: they go with it, before the cache is cleared
        clear_device_cache(garbage_collection=True)
    return 0


def _seconds(model: Any, rows: Rows, global_batch: int, size: int) -> float:
    """Of a pass of middling length, the faster of two."""
    _, middling = _trial_passes(rows, global_batch, size)
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        forward_backward(model, rows.data, middling)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken)


def _trainable(base: Path, params: TrainParams) -> Any:
    """The base model with a new adapter, and the optimiser's memory held for as long as the model lives."""
    model: Any = load_base(base, params.model)
    use_prefix_sharing(model)
    model.enable_input_require_grads()
    # In the compute type, in which training holds the adapter too: float32 passes would take more memory.
    model = get_peft_model(model, lora_config(params.lora), autocast_adapter_dtype=False).train()
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    held = STATE_BYTES * trainable + BUFFERS if torch.cuda.is_available() else 0
    model.optimizer_memory = torch.empty(held, dtype=torch.uint8, device=device())
    return model


def checkpoint(model: Any, every: int) -> None:
    """Compute the activations of every so many layers twice from now on; 0: of none."""
    base = model.get_base_model()
    base.activation_checkpointing_disable()
    if every:
        base.activation_checkpointing_enable(every_n_layers=every)


def forward_backward(model: Any, data: Encoded, rows: Ints) -> None:
    """Forward and backward of some rows, as training does them; the gradients are thrown away."""
    inputs = training_batch(data, rows)
    try:
        model(**send_to_device(inputs, device())).loss.backward()
    finally:
        model.zero_grad(set_to_none=True)
