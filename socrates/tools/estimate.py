"""What a training needs and costs on named machines: memory per GPU, hours, dollars. All of it estimated.

Time. A pass over T tokens with a frozen base of N matrix weights takes ``a N + T f N / r`` seconds. ``r`` is the rate
at which the GPU multiplies, ``f`` the floating point operations a weight and token: 2 forward, 2 backward (frozen
weights have no gradient), 2 more where gradient checkpointing computes the forward pass again; the adapter's own and
attention's are left out. ``a`` is what does not grow with the tokens: unpacking NF4 weights, and the host that starts
the kernels. Both are fitted to a published table (:data:`PUBLISHED`); for other cards the rate follows the peak, and
``a`` the memory's bandwidth.

Memory of one GPU: weights, the adapter with its gradients and Adam's state, what a forward pass keeps,
logits, and the CUDA context, sharded as the ZeRO stage says (Rajbhandari et al. 2020, arXiv 1910.02054).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
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
# Seconds of 8 passes of one row of so many tokens: Qwen-14B on one A100-SXM4-80G with gradient checkpointing, Q-LoRA
# (int4) and LoRA (bfloat16). github.com/QwenLM/Qwen, README, "Profiling of Memory and Speed".
PUBLISHED = {
    "nf4": {256: 5.3, 512: 6.3, 1024: 8.2, 2048: 11.8, 4096: 20.1, 8192: 38.3},
    "none": {256: 1.6, 512: 2.4, 1024: 4.4, 2048: 8.4, 4096: 17.0, 8192: 36.0},
}
PUBLISHED_WEIGHTS = 13.2e9  # in the matrices of Qwen-14B, output layer included
# The fit: seconds a weight that a pass takes whatever its tokens, and the share of an A100's peak.
FIXED = {"nf4": 0.53 / PUBLISHED_WEIGHTS, "none": 0.06 / PUBLISHED_WEIGHTS}
UTILISATION = 0.48
TODAY = (0.5, 1.1)  # of FIXED, at best and at worst: kernels that unpack weights are up to twice as fast now
# Of a layer, on the host, at best and at worst: no pass is faster than what starts its kernels. 40 layers took at most
# 0.2 s in the table above.
HOST_SECONDS = (0.003, 0.005)
SEVERAL_GPUS = 0.9  # assumed: of N times one GPU's speed
START_SECONDS_PER_GB = 10.0  # assumed: reading and quantising the weights, per 10^9 bytes
OVERHEAD = 1.5 * GIB  # assumed: CUDA context, workspaces, DeepSpeed's buffers
FRAGMENTED = 1.1  # assumed: of the other memory, lost between blocks
ANSWER_TOKENS = 4  # at most: three digits and the end; only they have logits
LOGIT_BYTES = 10  # a logit in bfloat16, in float32, and its gradient in float32
CPU_RATE = 2e10  # operations per second of one core in float32; assumed

# SocSci210 as published, and the lengths of its 2,780 rows in 20 studies that the seed project passed on, counted with
# Qwen2.5's tokenizer (python -m benchmarks.training_passes): means and standard deviations.
ROWS, TRAINING_SHARE = 2_901_390, 170 / 210
SCENARIO_TOKENS, SCENARIO_SPREAD = 137.2, 67.9
OWN_TOKENS, OWN_SPREAD = 52.6, 10.3
REMAINDERS = 1.07  # scenarios of a step over those of whole groups of 16, with 484 respondents a scenario
PASSES = 4000  # forward passes that are counted; the rest is taken to be like them


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: usable GiB, peak 10^12 operations per second in bfloat16, GB/s of its memory, assumed price."""

    name: str
    memory: float
    peak: float
    bandwidth: float
    usd_per_hour: float
    reached: tuple[float, float]  # of UTILISATION, at best and at worst
    bfloat16: bool = True


A100 = Gpu("A100-80", 79.1, 312.0, 2039.0, 1.8, (1.05, 0.9))
GPUS = (  # memory, peak and bandwidth of NVIDIA's data sheets (dense); prices of the order that rental offers had
    Gpu("A100-40", 39.4, 312.0, 1555.0, 1.3, (1.05, 0.9)),
    A100,
    # Assumed: larger and smaller cards reach less of their peak. An H100 is then 1.8 to 2.5 A100s, not 3.2.
    Gpu("H100", 79.1, 989.0, 3350.0, 3.0, (0.8, 0.55)),
    Gpu("L4", 22.0, 121.0, 300.0, 0.8, (0.9, 0.5)),
    Gpu("T4", 14.6, 65.0, 320.0, 0.35, (0.9, 0.5), bfloat16=False),
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
        plan: as a CPU would train; on a GPU what params leave null is chosen for it.
        rows: answers trained on, repeated ones counted again.
        count: of a number of rows in a pass, the mean tokens of a pass, and those of the longest.
        evaluated_rows: with a forward pass and no backward pass, over the whole run.
        basis: where the counts come from, in words.
    """

    plan: BatchPlan
    rows: int
    count: Callable[[int], tuple[float, int]]
    evaluated_rows: int
    basis: tuple[str, ...]

    @property
    def micro(self) -> int:
        """Rows of a pass."""
        return self.plan.micro_batch_size

    @property
    def pass_tokens(self) -> float:
        """Mean of a pass."""
        return self.count(self.micro)[0]

    @property
    def longest_pass(self) -> int:
        """Tokens of the longest of the passes counted, or assumed."""
        return self.count(self.micro)[1]

    @property
    def tokens(self) -> float:
        """Tokens with a forward and a backward pass."""
        return self.pass_tokens * (self.rows // self.micro)

    def plans(self, train: Train) -> Iterator[Workload]:
        """The work cut in every way that the params leave open."""
        share = self.plan.micro_batch_size * self.plan.grad_accum_steps
        sizes = (
            [n for n in range(1, share + 1) if share % n == 0] if train.micro_batch is None else [self.micro]
        )
        for every in (0, 2, 1) if train.gradient_checkpointing is None else (self.plan.checkpointed,):
            for size in sizes:
                yield replace(self, plan=BatchPlan(self.plan.max_steps, size, share // size, every))


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
    from socrates.training.collator import Rows, by_pass, pass_tokens

    train, prompt = sections["train"], sections["prompt"]
    tables = [read_table(folder / f"data/splits/{name}.parquet", RESPONSES) for name in ("train", "val")]
    data = encode(pl.concat(tables), load_tokenizer(folder / "models/base"), prompt.layout)
    lengths = data.lengths()
    fits = lengths <= prompt.max_length
    rows = np.flatnonzero(fits[: len(tables[0])])
    plan = plan_batches(train, len(rows), processes)

    @functools.cache
    def count(micro: int) -> tuple[float, int]:
        steps = min(plan.max_steps, -(-PASSES * micro // train.global_batch))
        drawn = steps * train.global_batch
        order = make_schedule(rows, data.scenario_of_row, drawn, train.group_size, train.seed)
        tokens = pass_tokens(data, by_pass(Rows(data, order, order), train.global_batch, micro), micro)
        return float(tokens.mean()), int(tokens.max())

    basis = (
        f"tokens counted on data/splits/ with the model's tokenizer: {len(rows):,} rows, "
        f"{lengths[rows].mean():.0f} tokens each, at most {PASSES:,} passes looked at"
    )
    return _workload(train, plan, count, int(fits[len(tables[0]) :].sum()), basis)


def assumed_workload(sections: Mapping[str, Any], processes: int, *basis: str) -> Workload:
    """The work of SocSci210 by its published counts."""
    sample, train, shared = (
        sections["sample"],
        sections["train"],
        sections["prompt"].layout == "scenario_first",
    )
    rows = round(ROWS * sample.fraction * TRAINING_SHARE)

    def count(micro: int) -> tuple[float, int]:
        scenarios = max(micro / train.group_size * REMAINDERS, 1) if shared else micro
        tokens = micro * OWN_TOKENS + scenarios * SCENARIO_TOKENS
        spread = (micro * OWN_SPREAD**2 + scenarios * SCENARIO_SPREAD**2) ** 0.5
        return tokens, round(tokens + 4 * spread)

    group = f"computed once for {train.group_size} respondents" if shared else "computed for each respondent"
    lengths = (
        f"{SCENARIO_TOKENS:g} tokens of a scenario, {group}, and {OWN_TOKENS:g} of each (means of 2,780 real rows); "
        "the longest pass four standard deviations above the mean"
    )
    counts = (
        f"{rows:,} training rows: {ROWS:,} published rows x {sample.fraction:g} x 170 of 210 studies, as if "
        "studies were equally large"
    )
    plan = plan_batches(train, rows, processes)
    return _workload(train, plan, count, train.eval_rows, *basis, counts, lengths)


def _workload(
    train: Train,
    plan: BatchPlan,
    count: Callable[[int], tuple[float, int]],
    validation_rows: int,
    *basis: str,
) -> Workload:
    evaluated = (plan.max_steps // train.eval_steps + 1) * min(train.eval_rows, validation_rows)
    return Workload(plan, plan.max_steps * train.global_batch, count, evaluated, basis)


def layer_bytes(dims: ModelDims, dropout: bool, keys: float) -> float:
    """What the backward pass needs of one layer, a token, in bfloat16.

    Args:
        dropout: LoRA's: each of the seven matrices then keeps a masked copy of its input and a mask of one byte,
            instead of an input that some share.
        keys: written out for attention, a token of the pass.
    """
    hidden, wide = dims.hidden, dims.intermediate
    masked = 3 * (6 * hidden + wide) - 2 * (3 * hidden + wide) if dropout else 0
    return 2 * (9 * hidden + 4 * wide) + masked + 4 * hidden * keys


def memory(dims: ModelDims, work: Workload, sections: Mapping[str, Any], gpus: int) -> dict[str, float]:
    """Bytes per GPU by what they hold, in bfloat16 compute, at the longest pass."""
    model, lora, deepspeed = (sections[name] for name in ("model", "lora", "deepspeed"))
    shards = {stage: gpus if deepspeed.zero_stage >= stage else 1 for stage in (1, 2, 3)}
    per_weight = 2.0
    if model.quantization == "nf4":
        per_weight = 0.5 + (1 / 64 + 4 / 64 / 256 if model.double_quantization else 4 / 64)
    trainable, tokens, every = dims.lora(lora), work.longest_pass, work.plan.checkpointed
    weights = (dims.linear * per_weight + 2 * dims.embeddings) / shards[3]
    # Keys and values are written out for each respondent: those of the scenario once more for each.
    keys = work.micro * (SCENARIO_TOKENS + OWN_TOKENS) / work.pass_tokens
    of_layer = tokens * layer_bytes(dims, lora.dropout > 0, keys)
    inputs = 2 * tokens * dims.hidden
    kept = dims.layers - (dims.layers // every if every else 0)
    held = {
        "weights": 0.0 if deepspeed.offload and deepspeed.zero_stage == 3 else weights,
        "one layer, de-quantised": 2.0 * dims.hidden * dims.intermediate,
        "adapter and its gradients": 2 * trainable / shards[3] + 4 * trainable / shards[2],
        "optimiser": 0.0 if deepspeed.offload else 12 * trainable / shards[1],  # float32 copy, Adam's moments
        "activations": float((dims.layers - kept) * inputs + (kept + (every > 0)) * of_layer),
        "logits": float(LOGIT_BYTES * work.micro * ANSWER_TOKENS * dims.vocab),
    }
    lost = (FRAGMENTED - 1) * sum(held.values())
    return {**held, "between blocks": lost, "context and buffers": OVERHEAD}


def pass_seconds(
    dims: ModelDims, tokens: float, operations: float, quantization: str, gpu: Gpu, best: bool
) -> float:
    """Of a pass over ``tokens`` with so many operations a weight and token, at best or at worst."""
    weights, end = dims.linear + dims.head, 0 if best else 1
    fixed = FIXED[quantization] * weights * A100.bandwidth / gpu.bandwidth * TODAY[end]
    computed = operations * weights * tokens / (gpu.peak * 1e12 * UTILISATION * gpu.reached[end])
    return max(fixed + computed, HOST_SECONDS[end] * dims.layers)


def seconds(dims: ModelDims, work: Workload, quantization: str, gpu: Gpu, best: bool) -> float:
    """Of the run's passes on one GPU, forward and backward, and of its evaluations."""
    operations = 4 + (2 / work.plan.checkpointed if work.plan.checkpointed else 0)
    trained = pass_seconds(dims, work.pass_tokens, operations, quantization, gpu, best)
    evaluated = pass_seconds(dims, 8 * work.pass_tokens, 2, quantization, gpu, best)
    return trained * (work.rows / work.micro) + evaluated * work.evaluated_rows / (8 * work.micro)


@dataclass(frozen=True)
class TrainingEstimate:
    """What a run needs of one kind of machine.

    Attributes:
        memory: bytes per GPU by what they hold.
        room: bytes that a GPU has.
        plan: how its passes are cut.
        hours, usd: the least and the most, of all GPUs together; None where the run is infeasible.
        infeasible_reason: why it cannot run there; None where it can.
    """

    machine: str
    gpus: int
    memory: dict[str, float]
    room: float | None
    plan: BatchPlan
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
    price, quantization = sections["run"].usd_per_hour, sections["model"].quantization
    start = 2 * (dims.linear + dims.embeddings) / 1e9 * START_SECONDS_PER_GB
    rows = []
    for gpu in GPUS:
        plan = best_plan(dims, work, sections, gpus, gpu)
        row = TrainingEstimate(
            gpu.name, gpus, memory(dims, plan, sections, gpus), gpu.memory * GIB, plan.plan
        )
        reason = None if gpu.bfloat16 else "has no bfloat16, in which GPUs train here"
        if gpu.bfloat16 and row.bytes > gpu.memory * GIB:
            do = "lower train.micro_batch or prompt.max_length, or deepspeed.offload"
            reason = f"needs {row.bytes / GIB:.1f} GiB; {do}"
        if reason:
            rows.append(replace(row, infeasible_reason=reason))
            continue
        together = gpus * (SEVERAL_GPUS if gpus > 1 else 1.0)
        taken = (seconds(dims, plan, quantization, gpu, best) / together + start for best in (True, False))
        least, most = (all_of_it / 3600 for all_of_it in taken)
        usd = price or gpu.usd_per_hour * gpus
        rows.append(replace(row, hours=(least, most), usd=(least * usd, most * usd)))
    cores, weights = os.cpu_count() or 1, dims.linear + dims.head
    todo = weights * (4 * work.tokens + 2 * work.pass_tokens * work.evaluated_rows / work.micro)
    hours = todo / (CPU_RATE * cores) / 3600
    cpu = TrainingEstimate(f"CPU, {cores} cores", 0, {}, None, work.plan)
    return [*rows, replace(cpu, hours=(hours,) * 2, usd=(hours * price,) * 2)]


def best_plan(dims: ModelDims, work: Workload, sections: Mapping[str, Any], gpus: int, gpu: Gpu) -> Workload:
    """The fastest way of cutting the work that fits into a GPU; the smallest where none does."""
    needs = [
        (sum(memory(dims, plan, sections, gpus).values()), plan) for plan in work.plans(sections["train"])
    ]
    fitting = [plan for need, plan in needs if need <= gpu.memory * GIB]
    if not fitting:
        return min(needs, key=lambda each: each[0])[1]
    return min(fitting, key=lambda plan: seconds(dims, plan, sections["model"].quantization, gpu, best=False))


def assumptions(work: Workload, sections: Mapping[str, Any], gpus: int) -> list[str]:
    """Everything the estimate rests on, one line each."""
    price = sections["run"].usd_per_hour
    prices = ", ".join(f"{gpu.name} ${gpu.usd_per_hour:g}" for gpu in GPUS)
    given = f"${price:g} per hour for all machines (run.usd_per_hour)"
    assumed = f"assumed prices per GPU and hour: {prices} (say yours with run.usd_per_hour)"
    return [
        *work.basis,
        "4 operations per weight and token (2 forward, 2 backward), 2 again where checkpointing recomputes, 2 in "
        "evaluations; attention and the adapter's own are left out",
        f"an A100-80 reaches {UTILISATION:.0%} of its peak, and a pass takes {FIXED['nf4'] * 1e12:.0f} s per 10^12 NF4 "
        "weights besides: fitted to a published table of Qwen-14B (github.com/QwenLM/Qwen, README); other cards by "
        f"peak and bandwidth; {TODAY[0]:g} (newer kernels, bitsandbytes 1747) to {TODAY[1]:g} times that time, and of "
        "that rate "
        + ", ".join(f"{gpu.name} {gpu.reached[1]:g} to {gpu.reached[0]:g}" for gpu in GPUS if gpu.bfloat16),
        f"no pass is faster than the {HOST_SECONDS[0]:g} to {HOST_SECONDS[1]:g} s a layer in which the host starts it",
        "rows of a pass and checkpointing, where null: the fastest that fits, by this estimate",
        f"{gpus} GPUs are {gpus * SEVERAL_GPUS:g} times as fast as one" if gpus > 1 else "one GPU",
        given if price else assumed,
        f"{START_SECONDS_PER_GB:g} s to start per 10^9 bytes of weights; download, predict and evaluate not included",
        f"memory at the longest pass, {FRAGMENTED - 1:.0%} lost between blocks, "
        f"{OVERHEAD / GIB:g} GiB for context and buffers",
        f"CPU: {CPU_RATE:.0e} operations per second and core",
    ]
