"""Trainers under comparison: ours with shared scenarios, and TRL's SFTTrainer with PEFT as a user could set it.

All are the real trainers, with their collators, optimiser and logging, with LoRA on all linear layers and loss on
the answer alone. TRL runs padded and grouped by length, and padding-free with an attention that reads each row by
itself: torch's flash attention on a GPU, row after row on a CPU.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AttentionInterface, PreTrainedModel, PrinterCallback, TrainerCallback, logging
from trl import SFTConfig, SFTTrainer

from benchmarks.plans import EXACT, Plan, random_model
from benchmarks.timing import Line, clock, interleaved, line, ratio
from benchmarks.workload import Profile, plain_rows, rows, tokenizer, twin
from socrates.core.params import load
from socrates.model.encoding import Encoded
from socrates.model.prefix_sharing import IGNORED
from socrates.model.tokenisation import end_token
from socrates.training.collator import Rows
from socrates.training.config import lora_config, train_in_float32
from socrates.training.params import Lora
from socrates.training.schedule import BatchPlan, make_schedule
from socrates.training.sft import AdapterTrainer

OURS, GROUPED, PACKED = "shared scenarios", "TRL, padded, by length", "TRL, padding-free"
# What is set in a way's configuration besides what all ways have in common.
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {"train_sampling_strategy": "sequential"},
    GROUPED: {"train_sampling_strategy": "group_by_length"},
    PACKED: {"padding_free": True},
}


def make(
    model: PreTrainedModel, way: str, data: Encoded, profile: Profile, micro: int, checkpointing: bool = False
) -> SFTTrainer:
    """A trainer on a copy of the model, with a new adapter that is the same in all ways.

    It trains on all rows of ``data``, ``micro`` of them in a forward pass, without checkpoints or
    evaluation. Only the shared way reads them in groups.
    """
    logging.set_verbosity_error()
    gpu = torch.cuda.is_available()
    args = SFTConfig(
        output_dir=str(Path(tempfile.gettempdir()) / "socrates-benchmark"),  # named only: nothing is saved
        use_cpu=not gpu,
        bf16=gpu,
        per_device_train_batch_size=1 if way == OURS else micro,
        max_steps=len(data) // micro,
        learning_rate=1e-4,
        gradient_checkpointing=checkpointing,
        **SETTINGS[way],
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        report_to="none",
        disable_tqdm=True,
        seed=1,
    )
    model, words, lora = twin(model), tokenizer(), load(Lora)
    model.set_attn_implementation("sdpa")
    torch.manual_seed(1)  # the adapter's first weights
    if way == OURS:
        order = make_schedule(np.arange(len(data)), data.scenario_of_row, len(data), profile.group, 1)
        plan = BatchPlan(args.max_steps, micro, 1)
        return AdapterTrainer(model, words, Rows(data, order, order[:micro]), plan, lora, args)
    plain = Dataset.from_list(plain_rows(data, np.arange(len(data))))
    made = SFTTrainer(model, args, train_dataset=plain, processing_class=words, peft_config=lora_config(lora))
    made.remove_callback(PrinterCallback)
    if not gpu:  # TRL keeps a QLoRA adapter in bfloat16; ours does not where nothing computes in it
        train_in_float32(model, None)
    if way == PACKED:
        model.set_attn_implementation("benchmark_varlen")
    return made


class Stopwatch(TrainerCallback):
    """A way for ``timing.interleaved``: train over all rows, from the start to the end of the last step.

    ``peak`` is that of the GPU's memory above what it held before, in bytes.
    """

    def __init__(self, trainer: SFTTrainer) -> None:
        self.trainer, self.device = trainer, trainer.accelerator.device
        trainer.add_callback(self)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.before, self.started = torch.cuda.memory_allocated(), clock(self.device)  # 0 bytes without a GPU

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = clock(self.device) - self.started
        self.peak = torch.cuda.max_memory_allocated() - self.before

    def __call__(self) -> float:
        self.trainer.train()
        return self.seconds


def check_equal(
    made: dict[str, SFTTrainer],
    data: Encoded,
    count: int,
    tolerance: float = EXACT[0],
    cosine: float = EXACT[1],
) -> str:
    """Refuse to go on unless all ways give one loss and one gradient for the first ``count`` rows.

    Returns:
        One line with the largest differences seen.

    Raises:
        SystemExit: with the way that differs.
    """
    results = {}
    for name, trainer in made.items():
        stir(trainer.model)
        items = [{"rows": [*range(count)]}] if name == OURS else plain_rows(data, np.arange(count))
        results[name] = loss_and_gradient(trainer, items)
    loss, gradient = results[OURS]
    gaps = {name: abs(loss - other) for name, (other, _) in results.items()}
    angles = {
        name: F.cosine_similarity(gradient, other, dim=0).item() for name, (_, other) in results.items()
    }
    for name, gap in gaps.items():
        if gap > tolerance or angles[name] < cosine:
            found = f"{gap:.2g} in loss, gradient cosine {angles[name]:.6f}"
            raise SystemExit(f"not reported: {name} and {OURS} differ by {found}")
    least = min(angles.values())
    return f"equivalence: losses within {max(gaps.values()):.1e}, gradient cosine at least {least:.7f}"


def stir(model: torch.nn.Module) -> None:
    """Give the adapter's second matrices, zero at first, values: else it says nothing and half of its gradient is 0."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            drawn = torch.randn(parameter.shape, generator=generator) * 0.02
            parameter.data.copy_(drawn.to(parameter.device, parameter.dtype))


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
    gradient = torch.cat([trainable[name].grad.double().flatten() for name in sorted(trainable)])
    trainer.model.zero_grad()
    trainer.model.train()
    return loss.item(), gradient


def varlen(
    module: torch.nn.Module, *qkv: torch.Tensor | None, scaling: float | None = None, **of: Any
) -> tuple[torch.Tensor, None]:
    """Flash attention over the rows of TRL's padding-free batches, as shipped with torch.

    Tensors ``[1, heads, T, head size]``, answer ``[1, T, heads, head size]``. On a CPU, which has no such
    kernel, row after row: the same numbers.
    """
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in qkv[:3])  # [T, heads, size]
    ends = of["cu_seq_lens_q"].to(q.device, torch.int32)
    same: dict[str, Any] = {"scale": scaling, "enable_gqa": True}
    if q.is_cuda:
        from torch.nn.attention.varlen import varlen_attn  # not in every torch

        longest = int(of["max_length_q"])
        return varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0), **same)[None], None
    parts = [
        F.scaled_dot_product_attention(*(x[a:b].transpose(0, 1) for x in (q, k, v)), is_causal=True, **same)
        for a, b in itertools.pairwise(ends.tolist())
    ]
    return torch.cat([part.transpose(0, 1) for part in parts])[None], None


AttentionInterface.register("benchmark_varlen", varlen)


def against_trl(plan: Plan, rounds: int) -> list[Line]:
    """Rows per second of ours and of TRL's trainer, and the peaks of memory above the model's."""
    model = random_model(plan)
    return [line for profile in plan.profiles for line in _against_trl(model, profile, plan, rounds)]


def _against_trl(model: PreTrainedModel, profile: Profile, plan: Plan, rounds: int) -> list[Line]:
    """A way of TRL that fails (a kernel that this card lacks) is left out with a line; ours must work."""
    group = min(profile.group, plan.micro)
    shape = replace(profile, group=group)
    data = rows(shape, plan.passes * plan.micro // group, group, "1..7")
    what = f"training, {profile.name}, G {group}"
    lines: list[Line] = []
    made: dict[str, SFTTrainer] = {}
    for name in SETTINGS:
        try:
            one = make(model, name, data, shape, plan.micro, plan.gradient_checkpointing)
            together = {OURS: made.get(OURS, one), name: one}
            print(f"{name}: {check_equal(together, data, plan.micro, *plan.alike)}", flush=True)
            made[name] = one
        except (Exception, SystemExit) as problem:
            if name == OURS:
                raise
            reason = f"not measured: {type(problem).__name__} {problem}".split("\n")[0][:150]
            lines.append(line(what, "", theirs=(name, reason)))

    watches = {name: Stopwatch(trainer) for name, trainer in made.items()}
    seconds = interleaved(watches, rounds)
    speed = {name: len(data) / float(np.median(taken)) for name, taken in seconds.items()}
    peak = {name: watch.peak / 2**30 for name, watch in watches.items()}
    for name in list(made)[1:]:
        times = ratio(seconds, name, OURS)
        lines.append(line(what, speed[OURS], "rows/s", (name, speed[name]), times))
        if peak[name]:
            share = peak[OURS] / peak[name]
            lines.append(line(f"peak memory, {what}", peak[OURS], "GiB", (name, peak[name]), share))
    return lines
