"""Trainers under comparison: ours with shared scenarios, and TRL's with the settings a user could choose."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AttentionInterface, PreTrainedModel, PrinterCallback, TrainerCallback, logging
from trl import SFTConfig, SFTTrainer

from benchmarks.quantised import twin
from benchmarks.timing import clock
from benchmarks.workload import Profile, plain_rows, tokenizer
from socrates.core.params import load
from socrates.model.encoding import Encoded
from socrates.model.prefix_sharing import IGNORED
from socrates.model.tokenisation import end_token
from socrates.training.collator import Rows
from socrates.training.config import lora_config, train_in_float32
from socrates.training.params import Lora, Train
from socrates.training.schedule import make_schedule
from socrates.training.sft import AdapterTrainer, build_trainer

OURS = "shared scenarios"
PADDED, GROUPED, PACKED = "TRL, padded", "TRL, padded, by length", "TRL, padding-free"
PACKED_FLASH = "TRL, padding-free, flash attention"  # torch's own: no package to fetch
# What is set in a way's configuration besides what all ways have in common.
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {"train_sampling_strategy": "sequential"},
    PADDED: {},
    GROUPED: {"train_sampling_strategy": "group_by_length"},
    PACKED: {"padding_free": True},
    PACKED_FLASH: {"padding_free": True},
}
# Rows of a padding-free pass where attention is a dense mask over all of them: its cost grows with their square.
DENSE_PACK = 4
# The loss of the small model is about 7: 1e-5 is some ten units in the last place of a float32.
LOSS_TOLERANCE, COSINE = 1e-5, 0.9999


class Stopwatch(TrainerCallback):
    """Seconds from the start of training to the end of its last step."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.started, self.seconds = device, 0.0, 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = clock(self.device)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = clock(self.device) - self.started


def trainers(
    model: PreTrainedModel, data: Encoded, profile: Profile, ways: list[str], micro: int, **settings: Any
) -> dict[str, SFTTrainer]:
    """A trainer for each way, each with a copy of the model and a new adapter, the same in all.

    All train on all rows of ``data``, ``micro`` of them in a forward pass, without checkpoints or
    evaluation. Only the shared way reads them in groups.

    Args:
        settings: for the configuration of every way.
    """
    return {name: make(twin(model), name, data, profile, micro, **settings) for name in ways}


def make(
    model: PreTrainedModel, way: str, data: Encoded, profile: Profile, micro: int, **settings: Any
) -> SFTTrainer:
    """One trainer on ``model`` itself; see :func:`trainers`."""
    logging.set_verbosity_error()
    gpu = torch.cuda.is_available()
    passes = micro // DENSE_PACK if way == PACKED and not gpu else 1
    args = SFTConfig(
        output_dir=str(Path(tempfile.gettempdir()) / "socrates-benchmark"),  # named only: nothing is saved
        use_cpu=not gpu,
        bf16=gpu,
        per_device_train_batch_size=1 if way == OURS else micro // passes,
        gradient_accumulation_steps=passes,
        max_steps=len(data) // micro,
        learning_rate=1e-4,
        **({"gradient_checkpointing": False} | SETTINGS[way] | settings),
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        report_to="none",
        disable_tqdm=True,
        seed=1,
    )
    model.set_attn_implementation("sdpa")
    torch.manual_seed(1)  # the adapter's first weights
    lora = load(Lora)
    if way == OURS:
        order = make_schedule(np.arange(len(data)), data.scenario_of_row, len(data), profile.group, 1)
        train = load(Train).model_copy(update={"global_batch": micro})
        return build_trainer(model, tokenizer(), Rows(data, order, order[:micro]), micro, train, lora, args)
    rows = Dataset.from_list(plain_rows(data, np.arange(len(data))))
    made = SFTTrainer(
        model, args, train_dataset=rows, processing_class=tokenizer(), peft_config=lora_config(lora)
    )
    made.remove_callback(PrinterCallback)
    if not gpu:  # TRL keeps a QLoRA adapter in bfloat16; ours does not where nothing computes in it
        train_in_float32(model, None)
    if way == PACKED_FLASH:
        model.set_attn_implementation("benchmark_varlen")
    return made


def run_once(trainer: SFTTrainer) -> Callable[[], float]:
    """A way for ``timing.interleaved``: train over all rows once."""
    watch = Stopwatch(trainer.accelerator.device)
    trainer.add_callback(watch)

    def run() -> float:
        trainer.train()
        return watch.seconds

    return run


def loss_and_gradient(trainer: SFTTrainer, items: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    """Loss per token of a batch as the trainer computes it, dropout off, and the adapter's gradient as one vector."""
    trainer.model.eval()
    batch = trainer._prepare_inputs(trainer.data_collator(items))
    labels, end = batch["labels"], end_token(tokenizer())
    loss = trainer.compute_loss(trainer.model, batch)
    if isinstance(trainer, AdapterTrainer):  # its loss is per answer
        loss = loss * (labels == end).sum() / (labels != IGNORED).sum()
    loss.backward()
    trainable = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    gradient = torch.cat([trainable[name].grad.float().flatten() for name in sorted(trainable)])
    trainer.model.zero_grad()
    trainer.model.train()
    return loss.item(), gradient


def check_equal(
    made: dict[str, SFTTrainer],
    data: Encoded,
    count: int,
    loss_tolerance: float = LOSS_TOLERANCE,
    cosine: float = COSINE,
) -> str:
    """Refuse to go on unless all ways give one loss and one gradient for the first ``count`` rows.

    Returns:
        One line with the largest differences seen.

    Raises:
        SystemExit: with the way that differs.
    """
    for trainer in made.values():
        stir(trainer.model)
    first = range(count)
    results = {}
    for name, trainer in made.items():
        items = [{"rows": list(first)}] if name == OURS else plain_rows(data, np.array(first))
        results[name] = loss_and_gradient(trainer, items)
    loss, gradient = results[OURS]
    worst_loss, worst_cosine = 0.0, 1.0
    for name, (other_loss, other) in results.items():
        difference = abs(loss - other_loss)
        angle = F.cosine_similarity(gradient.double(), other.double(), dim=0).item()
        if difference > loss_tolerance or angle < cosine:
            raise SystemExit(
                f"not reported: {name} and {OURS} differ by {difference:.2g} in loss, gradient cosine {angle:.6f}"
            )
        worst_loss, worst_cosine = max(worst_loss, difference), min(worst_cosine, angle)
    return f"equivalence: losses within {worst_loss:.1e}, gradient cosine at least {worst_cosine:.7f}"


def stir(model: torch.nn.Module) -> None:
    """Give the adapter's second matrices, zero at first, values: else it says nothing and half of its gradient is 0."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            drawn = torch.randn(parameter.shape, generator=generator) * 0.02
            parameter.data.copy_(drawn.to(parameter.device, parameter.dtype))


def varlen(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Flash attention over the rows of TRL's padding-free batches, as shipped with torch.

    Tensors ``[1, heads, T, head size]``, answer ``[1, T, heads, head size]``. On a CPU, which has no such
    kernel, row after row: the same numbers.
    """
    assert cu_seq_lens_q is not None, "only padding-free batches can be read"
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))  # [T, heads, size]
    if q.is_cuda:
        from torch.nn.attention.varlen import varlen_attn  # not in every torch

        ends = cu_seq_lens_q.to(q.device, torch.int32)
        longest, causal = int(max_length_q), (-1, 0)
        out = varlen_attn(
            q, k, v, ends, ends, longest, longest, scale=scaling, window_size=causal, enable_gqa=True
        )
        return out[None], None
    rows = [
        F.scaled_dot_product_attention(
            *(tensor[a:b].transpose(0, 1) for tensor in (q, k, v)),
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        ).transpose(0, 1)
        for a, b in itertools.pairwise(cu_seq_lens_q.tolist())
    ]
    return torch.cat(rows)[None], None


AttentionInterface.register("benchmark_varlen", varlen)
