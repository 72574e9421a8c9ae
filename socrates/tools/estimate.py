"""What a training needs and costs on named machines: memory per GPU, hours, dollars. All of it estimated.

Time. A frozen base of N matrix weights costs 2 N floating point operations a token forward, 2 N backward
(the gradient of the activations; frozen weights have none), and 2 N again where gradient checkpointing
computes the forward pass a second time; the adapter's own and attention's are left out. A GPU does them at
its peak rate times a *utilisation* that one published run implies (:data:`UTILISATION`). Sharing a scenario
lowers the tokens, not the cost of a token.

Memory of one GPU: weights, the adapter with its gradients and Adam's state, what a forward pass keeps,
logits, and the CUDA context, sharded as the ZeRO stage says (Rajbhandari et al. 2020, arXiv 1910.02054).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from socrates.core.errors import ModelError
from socrates.core.files import read_table
from socrates.model.params import Model
from socrates.survey.tables import RESPONSES
from socrates.tools.audit import read_records
from socrates.training.params import Lora, Train
from socrates.training.schedule import BatchPlan, make_schedule, plan_batches

GIB = 2**30
# The published 1 % run: 91 steps of 256 rows on one A100 in 2 to 3 hours. At 190 tokens a row, padded to 272
# (micro batches of 4), and 6 x 14.0e9 operations a token, that is 16 to 24 % of 312 TFLOP/s.
UTILISATION = (0.237, 0.158)  # fastest, slowest
SEVERAL_GPUS = 0.9  # assumed: of N times one GPU's speed
START_SECONDS_PER_GB = 10.0  # assumed: reading and quantising the weights, per 10^9 bytes
OVERHEAD = 1.5 * GIB  # assumed: CUDA context, workspaces, DeepSpeed's buffers
FRAGMENTED = 1.1  # assumed: of the other memory, lost between blocks
ANSWER_TOKENS = 4  # at most: three digits and the end; only they have logits where a scenario is shared
LOGIT_BYTES = 10  # a logit in bfloat16, in float32, and its gradient in float32
CPU_RATE = 2e10  # operations per second of one core in float32; assumed

# SocSci210 as published, and the lengths of its 2,780 rows in 20 studies that the seed project passed on,
# counted with Qwen2.5's tokenizer.
ROWS, TRAINING_SHARE = 2_901_390, 170 / 210
ROW_TOKENS, LONGEST_ROW = 190.0, 377
SCENARIO_TOKENS, OWN_TOKENS = 147.0, 44.0
PADDING = {1: 1.0, 2: 1.21, 4: 1.43, 8: 1.63, 16: 1.79}  # tokens with padding over without, by micro batch
PASSES = 4000  # forward passes that are counted; the rest is taken to be like them


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: GiB that a program can use, peak 10^12 operations per second in bfloat16, assumed price."""

    name: str
    memory: float
    peak: float
    usd_per_hour: float
    bfloat16: bool = True


GPUS = (  # memory and peak of NVIDIA's data sheets (dense); prices of the order that rental offers had
    Gpu("A100-40", 39.4, 312.0, 1.3),
    Gpu("A100-80", 79.1, 312.0, 1.8),
    Gpu("H100", 79.1, 989.0, 3.0),
    Gpu("L4", 22.0, 121.0, 0.8),
    Gpu("T4", 14.6, 65.0, 0.35, bfloat16=False),
)


@dataclass(frozen=True)
class ModelDims:
    """The dimensions of a decoder that memory and time depend on."""

    layers: int
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    tied: bool

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Input and output width of each linear layer."""
        hidden, wide, keys = self.hidden, self.intermediate, self.hidden * self.kv_heads // self.heads
        attention = {"q_proj": hidden, "k_proj": keys, "v_proj": keys, "o_proj": hidden}
        mlp = {"gate_proj": (hidden, wide), "up_proj": (hidden, wide), "down_proj": (wide, hidden)}
        return {name: (hidden, width) for name, width in attention.items()} | mlp

    @property
    def linear(self) -> int:
        """Weights in the matrices of the layers: what NF4 quantises."""
        return self.layers * sum(rows * columns for rows, columns in self.matrices.values())

    @property
    def head(self) -> int:
        """Weights of the output layer."""
        return self.vocab * self.hidden

    @property
    def embeddings(self) -> int:
        """Weights of input and output tables together; one where they are tied."""
        return self.head * (1 if self.tied else 2)

    def lora(self, lora: Lora) -> int:
        """Weights of an adapter."""
        widths = (sum(self.matrices.get(name, (0, 0))) for name in lora.target_modules)
        return self.layers * lora.r * sum(widths)


DIMS = {
    "Qwen/Qwen2.5-14B-Instruct": ModelDims(48, 5120, 13824, 152064, 40, 8, tied=False),
    "Qwen/Qwen2.5-0.5B-Instruct": ModelDims(24, 896, 4864, 151936, 14, 2, tied=True),
}


def model_dims(model: Model) -> ModelDims:
    """The dimensions of the base model: of the params, of a table, or of its configuration in the hub's cache.

    Raises:
        ModelError: none of them knows the model.
    """
    if model.builtin:
        tiny = model.tiny
        widths = (tiny.hidden_size, tiny.intermediate_size, tiny.vocab_size)
        return ModelDims(tiny.layers, *widths, tiny.heads, tiny.kv_heads, tied=True)
    if model.name in DIMS:
        return DIMS[model.name]
    from transformers import AutoConfig

    names = (
        "num_hidden_layers hidden_size intermediate_size vocab_size num_attention_heads num_key_value_heads"
    )
    try:
        config = AutoConfig.from_pretrained(
            model.name, revision=model.revision, local_files_only=True, trust_remote_code=False
        )
        sizes = [getattr(config, name) for name in (*names.split(), "tie_word_embeddings")]
        return ModelDims(*sizes)
    except (OSError, ValueError, AttributeError):
        raise ModelError(
            f"model.name {model.name}: its size is not known here; run dvc repro base first"
        ) from None


@dataclass(frozen=True)
class Workload:
    """What one run computes, over all processes.

    Attributes:
        rows: answers trained on, repeated ones counted again.
        pass_tokens: mean tokens of a forward pass, padding included.
        longest_pass: tokens of the longest of the passes counted, or assumed.
        evaluated_rows: with a forward pass and no backward pass, over the whole run.
        basis: where the counts come from, in words.
    """

    steps: int
    rows: int
    micro: int
    pass_tokens: float
    longest_pass: int
    evaluated_rows: int
    basis: tuple[str, ...]

    @property
    def tokens(self) -> float:
        """Tokens with a forward and a backward pass."""
        return self.pass_tokens * (self.rows // self.micro)


def workload(folder: Path, sections: Mapping[str, Any], processes: int) -> Workload:
    """The work of training: counted on the split under ``folder``, or assumed where it is another experiment's."""
    _, missing = read_records(folder, {name: section.model_dump() for name, section in sections.items()})
    for name in ("raw", "sample", "splits", "base"):
        if name in missing:
            return assumed_workload(sections, processes, f"tokens are not counted, because {missing[name]}")
    return counted_workload(folder, sections, processes)


def counted_workload(folder: Path, sections: Mapping[str, Any], processes: int) -> Workload:
    """The work of the split under ``folder``, with the base model's own tokenizer."""
    import polars as pl

    from socrates.model.encoding import encode
    from socrates.model.loading import load_tokenizer

    train, prompt = sections["train"], sections["prompt"]
    tables = [read_table(folder / f"data/splits/{name}.parquet", RESPONSES) for name in ("train", "val")]
    data = encode(pl.concat(tables), load_tokenizer(folder / "models/base"), prompt.layout)
    lengths = data.lengths()
    fits = lengths <= prompt.max_length
    rows = np.flatnonzero(fits[: len(tables[0])])
    plan = plan_batches(train, len(rows), processes)
    micro = plan.micro_batch_size
    count = min(plan.max_steps * train.global_batch, PASSES * micro)
    group = train.group_size if train.share_scenario else 1
    order = make_schedule(rows, data.scenario_of_row, count, group, train.seed)
    tokens = []
    for start in range(0, len(order) - micro + 1, micro):
        chosen = order[start : start + micro]
        if train.share_scenario:
            scenarios = data.scenario_of_row[chosen]
            own = lengths[chosen] - data.scenarios.lengths[scenarios]
            tokens.append(int(own.sum() + data.scenarios.lengths[np.unique(scenarios)].sum()))
        else:
            tokens.append(int(lengths[chosen].max()) * micro)
    basis = (
        f"tokens counted on data/splits/ with the model's tokenizer: {len(rows):,} rows, "
        f"{lengths[rows].mean():.0f} tokens each, {len(tokens):,} passes looked at"
    )
    validation_rows = int(fits[len(tables[0]) :].sum())
    return _workload(train, plan, float(np.mean(tokens)), max(tokens), validation_rows, basis)


def assumed_workload(sections: Mapping[str, Any], processes: int, *basis: str) -> Workload:
    """The work of SocSci210 by its published counts."""
    sample, train = sections["sample"], sections["train"]
    rows = round(ROWS * sample.fraction * TRAINING_SHARE)
    plan = plan_batches(train, rows, processes)
    micro = plan.micro_batch_size
    if train.share_scenario:
        group = min(train.group_size, micro)
        tokens = micro * (OWN_TOKENS + SCENARIO_TOKENS / group)
        longest = round(2 * tokens)
        lengths = (
            f"{SCENARIO_TOKENS:g} tokens of a scenario, shared by {group} respondents, and {OWN_TOKENS:g} of "
            "each (means of 2,780 real rows); the longest pass twice the mean"
        )
    else:
        padding = float(np.interp(micro, list(PADDING), list(PADDING.values())))
        tokens, longest = micro * ROW_TOKENS * padding, micro * LONGEST_ROW
        lengths = (
            f"{ROW_TOKENS:g} tokens a row, the longest {LONGEST_ROW}, {padding:.2f} times that with the "
            f"padding of {micro} rows (2,780 real rows)"
        )
    counts = (
        f"{rows:,} training rows: {ROWS:,} published rows x {sample.fraction:g} x 170 of 210 studies, as if "
        "studies were equally large"
    )
    return _workload(train, plan, tokens, longest, train.eval_rows, *basis, counts, lengths)


def _workload(
    train: Train, plan: BatchPlan, tokens: float, longest: int, validation_rows: int, *basis: str
) -> Workload:
    steps, micro = plan.max_steps, plan.micro_batch_size
    evaluated = (steps // train.eval_steps + 1) * min(train.eval_rows, validation_rows)
    return Workload(steps, steps * train.global_batch, micro, tokens, longest, evaluated, basis)


def memory(dims: ModelDims, work: Workload, sections: Mapping[str, Any], gpus: int) -> dict[str, float]:
    """Bytes per GPU by what they hold, in bfloat16 compute, at the longest pass."""
    model, lora, train, deepspeed = (sections[name] for name in ("model", "lora", "train", "deepspeed"))
    shards = {stage: gpus if deepspeed.zero_stage >= stage else 1 for stage in (1, 2, 3)}
    per_weight = 2.0
    if model.quantization == "nf4":
        per_weight = 0.5 + (1 / 64 + 4 / 64 / 256 if model.double_quantization else 4 / 64)
    trainable, tokens = dims.lora(lora), work.longest_pass
    weights = (dims.linear * per_weight + 2 * dims.embeddings) / shards[3]
    of_layer = 2 * tokens * (8 * dims.hidden + 4 * dims.intermediate)
    inputs = 2 * tokens * dims.hidden * dims.layers
    scored = work.micro * ANSWER_TOKENS if train.share_scenario else tokens
    held = {
        "weights": 0.0 if deepspeed.offload and deepspeed.zero_stage == 3 else weights,
        "one layer, de-quantised": 2.0 * dims.hidden * dims.intermediate,
        "adapter and its gradients": 2 * trainable / shards[3] + 4 * trainable / shards[2],
        "optimiser": 0.0 if deepspeed.offload else 12 * trainable / shards[1],  # float32 copy, Adam's moments
        "activations": float(inputs + of_layer if train.gradient_checkpointing else dims.layers * of_layer),
        "logits": float(LOGIT_BYTES * scored * dims.vocab),
    }
    lost = (FRAGMENTED - 1) * sum(held.values())
    return {**held, "between blocks": lost, "context and buffers": OVERHEAD}


def operations(dims: ModelDims, work: Workload, train: Train) -> float:
    """Floating point operations of the run; of the output layer as if no scenario were shared."""
    evaluated_tokens = work.pass_tokens * work.evaluated_rows / work.micro
    per_token = 6 if train.gradient_checkpointing else 4
    return (dims.linear + dims.head) * (per_token * work.tokens + 2 * evaluated_tokens)


@dataclass(frozen=True)
class TrainingEstimate:
    """What a run needs of one kind of machine.

    Attributes:
        memory: bytes per GPU by what they hold.
        room: bytes that a GPU has.
        hours, usd: the least and the most, of all GPUs together; None where the run is infeasible.
        infeasible_reason: why it cannot run there; None where it can.
    """

    machine: str
    gpus: int
    memory: dict[str, float]
    room: float | None
    hours: tuple[float, float] | None = None
    usd: tuple[float, float] | None = None
    infeasible_reason: str | None = None

    @property
    def bytes(self) -> float:
        """Of one GPU."""
        return sum(self.memory.values())


def estimates(
    dims: ModelDims, work: Workload, sections: Mapping[str, Any], gpus: int = 1
) -> list[TrainingEstimate]:
    """The run on each kind of GPU, ``gpus`` of it, and on this machine's CPU."""
    todo, price = operations(dims, work, sections["train"]), sections["run"].usd_per_hour
    held = memory(dims, work, sections, gpus)
    start = 2 * (dims.linear + dims.embeddings) / 1e9 * START_SECONDS_PER_GB
    rows = []
    for gpu in GPUS:
        row = TrainingEstimate(gpu.name, gpus, held, gpu.memory * GIB)
        reason = None if gpu.bfloat16 else "has no bfloat16, in which GPUs train here"
        if gpu.bfloat16 and row.bytes > gpu.memory * GIB:
            do = "lower train.micro_batch or prompt.max_length, or deepspeed.offload"
            reason = f"needs {row.bytes / GIB:.1f} GiB; {do}"
        if reason:
            rows.append(replace(row, infeasible_reason=reason))
            continue
        rate = gpu.peak * 1e12 * gpus * (SEVERAL_GPUS if gpus > 1 else 1.0)
        least, most = ((todo / (rate * share) + start) / 3600 for share in UTILISATION)
        usd = price or gpu.usd_per_hour * gpus
        rows.append(replace(row, hours=(least, most), usd=(least * usd, most * usd)))
    cores = os.cpu_count() or 1
    hours = todo / (CPU_RATE * cores) / 3600
    return [*rows, TrainingEstimate(f"CPU, {cores} cores", 0, {}, None, (hours,) * 2, (hours * price,) * 2)]


def assumptions(work: Workload, sections: Mapping[str, Any], gpus: int) -> list[str]:
    """Everything the estimate rests on, one line each."""
    price, fastest, slowest = sections["run"].usd_per_hour, *UTILISATION
    prices = ", ".join(f"{gpu.name} ${gpu.usd_per_hour:g}" for gpu in GPUS)
    given = f"${price:g} per hour for all machines (run.usd_per_hour)"
    assumed = f"assumed prices per GPU and hour: {prices} (say yours with run.usd_per_hour)"
    checkpointing = sections["train"].gradient_checkpointing
    return [
        *work.basis,
        f"{6 if checkpointing else 4} operations per weight and token (2 forward, 2 backward"
        f"{', 2 again for gradient checkpointing' if checkpointing else ''}), 2 in evaluations; attention and the "
        "adapter's own are left out",
        f"GPUs reach {slowest:.0%} to {fastest:.0%} of their peak, as the one published run implies (91 steps in "
        "2 to 3 h on one A100); so that run is no test of this estimate",
        f"{gpus} GPUs are {gpus * SEVERAL_GPUS:g} times as fast as one" if gpus > 1 else "one GPU",
        given if price else assumed,
        f"{START_SECONDS_PER_GB:g} s to start per 10^9 bytes of weights; download, predict and evaluate not included",
        f"memory at the longest pass ({work.longest_pass:,} tokens), {FRAGMENTED - 1:.0%} lost between blocks, "
        f"{OVERHEAD / GIB:g} GiB for context and buffers",
        f"CPU: {CPU_RATE:.0e} operations per second and core",
    ]
