"""What a training needs and costs on named machines: memory per GPU, hours, dollars. All of it estimated.

Time. A pass over T tokens with a frozen base of N matrix weights takes ``a N + T f N / r`` seconds. ``r`` is the rate
at which the GPU multiplies, ``f`` the floating point operations a weight and token: 2 forward, 2 backward (frozen
weights have no gradient), 2 more where gradient checkpointing computes the forward pass again; the adapter's own and
attention's are left out. ``a`` does not grow with the tokens: unpacking NF4 weights, and the host that starts the
kernels. Both are fitted to a published table of Qwen-14B (``tests/tools/test_estimate.py`` has it); for other cards the
rate follows the peak, and ``a`` the memory's bandwidth. Steps that ``benchmarks.gpu`` has timed on a card come first.

Memory of one GPU: weights, the adapter with its gradients and Adam's state, what a forward pass keeps,
logits, and the CUDA context, sharded as the ZeRO stage says (Rajbhandari et al. 2020, arXiv 1910.02054).
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.core.errors import ModelError
from socrates.core.files import read_json, read_table
from socrates.model.params import Model
from socrates.survey.tables import RESPONSES
from socrates.tools.audit import read_records
from socrates.training.params import Lora
from socrates.training.schedule import BatchPlan, plan_batches

Sections = Mapping[str, Any]  # of the params, by name

GIB = 2**30
MEASURED = Path("runs/gpu.json")  # steps that benchmarks.gpu has timed: :class:`Measured`
QWEN_14B = 13.2e9  # weights in its matrices, output layer included
# The fit: seconds a weight that a pass takes whatever its tokens, and the share of an A100's peak.
FIXED = {"nf4": 0.53 / QWEN_14B, "none": 0.06 / QWEN_14B}
UTILISATION = 0.48
BEST, WORST = 0, 1  # ends of what a run may take
TODAY = (0.5, 1.1)  # of FIXED, at best and at worst: kernels that unpack weights are up to twice as fast now
HOST_SECONDS = (0.003, 0.005)  # at least, of a layer, to start its kernels: of 40 at most 0.2 s in that table
SEVERAL_GPUS = 0.9  # assumed: of N times one GPU's speed
START_SECONDS_PER_GB = 10.0  # assumed: reading and quantising the weights, per 10^9 bytes
OVERHEAD = 1.5 * GIB  # assumed: CUDA context, workspaces, DeepSpeed's buffers
LONGEST = 4  # standard deviations of a pass's tokens above their mean
FRAGMENTED = 1.1  # assumed: of the other memory, lost between blocks
ANSWER_TOKENS = 4  # at most: three digits and the end; only they have logits
LOGIT_BYTES = 10  # a logit in bfloat16, in float32, and its gradient in float32
ROWS, TRAINING_SHARE = 2_901_390, 170 / 210  # SocSci210 as published


@dataclass(frozen=True)
class Lengths:
    """Tokens of a row's scenario with its question, and of its own rest: means and standard deviations.

    Those of SocSci210 are of its 2,780 rows in 20 studies that the seed project passed on, counted with Qwen2.5's
    tokenizer (docs/performance.md). ``together``: respondents of a pass for whom one scenario is computed once.
    """

    scenario: float = 137.2
    scenario_spread: float = 67.9
    own: float = 52.6
    own_spread: float = 10.3
    together: float = 1.0


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: usable GiB, peak 10^12 operations per second in bfloat16, GB/s of its memory, assumed price."""

    name: str
    memory: float
    peak: float
    bandwidth: float
    usd_per_hour: float
    reached: tuple[float, float]  # of UTILISATION, at best and at worst


A100 = Gpu("A100-80", 79.1, 312.0, 2039.0, 1.8, (1.05, 0.9))
GPUS = (  # memory, peak and bandwidth of NVIDIA's data sheets (dense); prices of the order that rental offers had
    Gpu("A100-40", 39.4, 312.0, 1555.0, 1.3, (1.05, 0.9)),
    A100,
    # Assumed: larger and smaller cards reach less of their peak. An H100 is then 1.8 to 2.5 A100s, not 3.2.
    Gpu("H100", 79.1, 989.0, 3350.0, 3.0, (0.8, 0.55)),
    Gpu("H200", 139.8, 989.0, 4800.0, 3.8, (0.8, 0.55)),
    Gpu("L4", 22.0, 121.0, 300.0, 0.8, (0.9, 0.5)),
)


@dataclass(frozen=True)
class ModelDims:
    """The dimensions of a decoder that memory and time depend on, and the numbers of weights that follow."""

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
        """In the matrices of the layers: what NF4 quantises."""
        return self.layers * sum(rows * columns for rows, columns in self.matrices.values())

    @property
    def head(self) -> int:
        return self.vocab * self.hidden

    @property
    def whole(self) -> int:
        """In the layers, and in input and output tables: one where they are tied."""
        return self.linear + self.head * (1 if self.tied else 2)

    def lora(self, lora: Lora) -> int:
        widths = (sum(self.matrices.get(name, (0, 0))) for name in lora.target_modules)
        return self.layers * lora.r * sum(widths)


DIMS = {"Qwen/Qwen2.5-14B-Instruct": ModelDims(48, 5120, 13824, 152064, 40, 8, tied=False)}


def model_dims(model: Model) -> ModelDims:
    """Of the params, of a table, or of the model's configuration in the hub's cache; else :class:`ModelError`."""
    if model.builtin:
        tiny = model.tiny
        widths = (tiny.hidden_size, tiny.intermediate_size, tiny.vocab_size)
        return ModelDims(tiny.layers, *widths, tiny.heads, tiny.heads // 2, tied=True)
    if model.name in DIMS:
        return DIMS[model.name]
    from transformers import AutoConfig

    sizes = ["num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "num_attention_heads"]
    sizes += ["num_key_value_heads", "tie_word_embeddings"]
    where = {"revision": model.revision, "local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(model.name, **where)
        return ModelDims(*(getattr(config, name) for name in sizes))
    except (OSError, ValueError, AttributeError):
        told = "its size is not known here; run dvc repro base first"
        raise ModelError(f"model.name {model.name}: {told}") from None


@dataclass(frozen=True)
class Workload:
    """What one run computes, over all its GPUs, or processes of a CPU."""

    sections: Sections
    dims: ModelDims
    gpus: int
    plan: BatchPlan  # as a CPU would train; on a GPU what params leave null is chosen for it (:func:`best_plan`)
    rows: int  # answers trained on, repeated ones counted again
    evaluated_rows: int  # with a forward pass and no backward pass, over the whole run
    lengths: Lengths
    basis: tuple[str, ...] = ()  # where the counts come from, in words

    @property
    def pairs(self) -> bool:
        """Whether a row is two answers to a prompt, which a reference reads as well."""
        return bool(self.sections["train"].method == "dpo")

    @property
    def micro(self) -> int:
        """Rows of a pass."""
        return self.plan.micro_batch_size

    def pass_tokens(self, deviations: float = 0) -> float:
        """Mean of a pass, or so many standard deviations above it."""
        scenarios, rows = max(self.micro / self.lengths.together, 1), self.lengths
        spread = (self.micro * rows.own_spread**2 + scenarios * rows.scenario_spread**2) ** 0.5
        return self.micro * rows.own + scenarios * rows.scenario + deviations * spread

    @property
    def tokens(self) -> float:
        """With a forward and a backward pass."""
        return self.pass_tokens() * (self.rows // self.micro)


def workload(folder: Path, sections: Sections, gpus: int) -> Workload:
    """The work of training: counted on the split under ``folder``, or assumed where it is another experiment's."""
    _, missing = read_records(folder, {name: section.model_dump() for name, section in sections.items()})
    for name in ("raw", "sample", "splits", "base"):
        if name in missing:
            return assumed_workload(sections, gpus, f"tokens are not counted, because {missing[name]}")
    return counted_workload(folder, sections, gpus)


def counted_workload(folder: Path, sections: Sections, gpus: int) -> Workload:
    """The work of the split under ``folder``, with the base model's own tokenizer."""
    from socrates.model.encoding import encode
    from socrates.model.loading import load_tokenizer

    prompt = sections["prompt"]
    tables = [read_table(folder / f"data/splits/{name}.parquet", RESPONSES) for name in ("train", "val")]
    data = encode(pl.concat(tables), load_tokenizer(folder / "models/base"), prompt.layout, prompt.format)
    fits = data.lengths() <= prompt.max_length
    rows = np.flatnonzero(fits[: len(tables[0])])
    prefix, whole = data.prefix_lengths()[rows], data.lengths()[rows]
    own, together = whole - prefix, 1.0
    if prompt.layout == "scenario_first":
        counts = np.unique(data.scenario_of_row[rows], return_counts=True)[1]
        together = len(rows) / (-(-counts // sections["train"].group_size)).sum()
    lengths = Lengths(prefix.mean(), prefix.std(), own.mean(), own.std(), together)
    basis = (
        f"tokens counted on data/splits/ with the model's tokenizer: {len(rows):,} rows, {whole.mean():.0f} tokens "
        f"each, {lengths.scenario:.0f} of them computed once for {together:.1f} respondents"
    )
    return _workload(sections, gpus, len(rows), int(fits[len(tables[0]) :].sum()), lengths, basis)


def assumed_workload(sections: Sections, gpus: int, *basis: str) -> Workload:
    """The work of SocSci210 by its published counts."""
    fraction, train = sections["sample"].fraction, sections["train"]
    rows = round(ROWS * fraction * TRAINING_SHARE)
    lengths, computed = Lengths(), "computed for each respondent"
    if sections["prompt"].layout == "scenario_first":
        # Scenarios of a step over those of whole groups of 16, with 484 respondents a scenario: 1.07.
        lengths = Lengths(together=train.group_size / 1.07)
        computed = f"computed once for {train.group_size} respondents"
    told = (
        f"{rows:,} training rows: {ROWS:,} published rows x {fraction:g} x 170 of 210 studies, as if studies were "
        "equally large",
        f"{lengths.scenario:g} tokens of a scenario, {computed}, and {lengths.own:g} of each (means of 2,780 real "
        "rows); the longest pass four standard deviations above the mean",
    )
    return _workload(sections, gpus, rows, train.eval_rows, lengths, *basis, *told)


def _workload(
    sections: Sections, gpus: int, rows: int, validation_rows: int, lengths: Lengths, *basis: str
) -> Workload:
    train = sections["train"]
    plan = plan_batches(train, rows, gpus)
    evaluated = (plan.max_steps // train.eval_steps + 1) * min(train.eval_rows, validation_rows)
    if train.method == "dpo":
        spread = 2 * float(np.hypot(lengths.scenario_spread, lengths.own_spread))
        lengths = Lengths(0.0, 0.0, 2 * (lengths.scenario + lengths.own), spread)
        basis += ("dpo: two rows a pair that share nothing, the reference's pass, logits of all tokens",)
    rows, dims = plan.max_steps * train.global_batch, model_dims(sections["model"])
    return Workload(sections, dims, gpus, plan, rows, evaluated, lengths, basis)


def layer_bytes(dims: ModelDims, dropout: bool, keys: float) -> float:
    """What the backward pass needs of one layer, a token, in bfloat16; ``keys`` are written out for attention, a token.

    With LoRA's ``dropout`` each of the seven matrices keeps a masked copy of its input and a mask of one byte, instead
    of an input that some share.
    """
    hidden, wide = dims.hidden, dims.intermediate
    masked = 3 * (6 * hidden + wide) - 2 * (3 * hidden + wide) if dropout else 0
    return 2 * (9 * hidden + 4 * wide) + masked + 4 * hidden * keys


def memory(work: Workload) -> dict[str, float]:
    """Bytes per GPU by what they hold, in bfloat16 compute, at the longest pass."""
    dims, tokens, every = work.dims, work.pass_tokens(LONGEST), work.plan.checkpointed
    model, lora, deepspeed = (work.sections[name] for name in ("model", "lora", "deepspeed"))
    shards = {stage: work.gpus if deepspeed.zero_stage >= stage else 1 for stage in (1, 2, 3)}
    per_weight = 0.5 + 1 / 64 + 4 / 64 / 256 if model.quantization == "nf4" else 2.0
    trainable = dims.lora(lora)
    weights = (dims.linear * per_weight + 2 * (dims.whole - dims.linear)) / shards[3]
    # Keys and values are written out for each respondent: those of the scenario once more for each.
    keys = work.micro * (work.lengths.scenario + work.lengths.own) / work.pass_tokens()
    of_layer = tokens * layer_bytes(dims, lora.dropout > 0, keys)
    again = dims.layers // every if every else 0  # layers of which the input alone is kept
    scored = tokens if work.pairs else work.micro * ANSWER_TOKENS
    held = {
        "weights": 0.0 if deepspeed.offload and deepspeed.zero_stage == 3 else weights,
        "one layer, de-quantised": 2.0 * dims.hidden * dims.intermediate,
        "adapter and its gradients": 2 * trainable / shards[3] + 4 * trainable / shards[2],
        "optimiser": 0.0 if deepspeed.offload else 12 * trainable / shards[1],  # float32 copy, Adam's moments
        "activations": again * (2 * tokens * dims.hidden) + (dims.layers - again + (every > 0)) * of_layer,
        "logits": float(LOGIT_BYTES * scored * dims.vocab),
    }
    lost = (FRAGMENTED - 1) * sum(held.values())
    return {**held, "between blocks": lost, "context and buffers": OVERHEAD}


def pass_seconds(
    dims: ModelDims, tokens: float, operations: float, quantization: str, gpu: Gpu, end: int
) -> float:
    """Of a pass over ``tokens`` with so many operations a weight and token, at best or at worst."""
    weights = dims.linear + dims.head
    fixed = FIXED[quantization] * weights * A100.bandwidth / gpu.bandwidth * TODAY[end]
    computed = operations * weights * tokens / (gpu.peak * 1e12 * UTILISATION * gpu.reached[end])
    return max(fixed + computed, HOST_SECONDS[end] * dims.layers)


def seconds(work: Workload, gpu: Gpu, end: int) -> float:
    """Of the run's passes on one GPU, forward and backward, and of its evaluations."""
    dims, quantization, every = work.dims, work.sections["model"].quantization, work.plan.checkpointed
    operations = 4 + (2 / every if every else 0) + 2 * work.pairs
    trained = pass_seconds(dims, work.pass_tokens(), operations, quantization, gpu, end)
    evaluated = pass_seconds(dims, 8 * work.pass_tokens(), 2 + 2 * work.pairs, quantization, gpu, end)
    return trained * (work.rows / work.micro) + evaluated * work.evaluated_rows / (8 * work.micro)


@dataclass(frozen=True)
class Measured:
    """Steps of a training on one card."""

    gpu: str  # as torch calls it
    gib: float
    model: str
    quantization: str
    passes: int  # of a step
    tokens: float  # of a pass
    checkpointed: int  # as in BatchPlan
    seconds: float  # of a step

    def ratio(self, work: Workload, gpu: Gpu, end: int) -> float:
        """Measured seconds over estimated ones; 1 for another card, model or quantisation."""
        model, card = work.sections["model"], gpu.name.split("-")[0] in re.split(r"[ -]", self.gpu)
        same = (self.model, self.quantization) == (model.name, model.quantization)
        if not (same and card and abs(self.gib - gpu.memory) <= 8):
            return 1.0
        operations = 4 + (2 / self.checkpointed if self.checkpointed else 0)
        estimated = pass_seconds(work.dims, self.tokens, operations, self.quantization, gpu, end)
        return self.seconds / (self.passes * estimated)


def measured(folder: Path) -> Measured | None:
    """What ``benchmarks.gpu`` has left in a folder."""
    return Measured(**read_json(folder / MEASURED)) if (folder / MEASURED).exists() else None


def estimates(work: Workload, timed: Measured | None = None) -> list[dict[str, Any]]:
    """What the run needs of each kind of GPU.

    ``memory`` is bytes per GPU by what they hold, ``bytes`` their sum, ``room`` what it has; ``hours`` and ``usd`` the
    least and the most of all GPUs together, None where the run does not fit.
    """
    together = work.gpus * (SEVERAL_GPUS if work.gpus > 1 else 1.0)
    start = 2 * work.dims.whole / 1e9 * START_SECONDS_PER_GB
    rows = []
    for gpu in GPUS:
        best = best_plan(work, gpu)
        held, room = memory(best), gpu.memory * GIB
        row: dict[str, Any] = {"machine": gpu.name, "gpus": work.gpus, "memory": held, "room": room}
        row |= {"plan": asdict(best.plan), "hours": None, "usd": None, "bytes": sum(held.values())}
        if row["bytes"] <= room:
            ratios = [timed.ratio(work, gpu, end) if timed else 1.0 for end in (BEST, WORST)]
            took = [seconds(best, gpu, end) * ratios[end] / together for end in (BEST, WORST)]
            price = work.sections["run"].usd_per_hour or gpu.usd_per_hour * work.gpus
            row["hours"] = [(each + start) / 3600 for each in took]
            row["usd"] = [hours * price for hours in row["hours"]]
        rows.append(row)
    return rows


def best_plan(work: Workload, gpu: Gpu) -> Workload:
    """The work cut in the fastest way that the params leave open and a GPU has room for; else in the smallest."""
    train, plan = work.sections["train"], work.plan
    share = plan.micro_batch_size * plan.grad_accum_steps
    sizes = [size for size in range(1, share + 1) if share % size == 0]
    if train.micro_batch is not None:
        sizes = [plan.micro_batch_size]
    checkpointing = (0, 2, 1) if train.gradient_checkpointing is None else (plan.checkpointed,)
    cuts = [
        replace(work, plan=BatchPlan(plan.max_steps, size, share // size, every))
        for every, size in itertools.product(checkpointing, sizes)
    ]
    needs = [sum(memory(cut).values()) for cut in cuts]
    fitting = [cut for cut, need in zip(cuts, needs, strict=True) if need <= gpu.memory * GIB]
    return min(fitting, key=lambda cut: seconds(cut, gpu, WORST)) if fitting else cuts[int(np.argmin(needs))]


def span(values: Sequence[float]) -> str:
    """The least to the most of an estimate."""
    low, high = values
    digits = 0 if low >= 10 else 1
    return "under 0.1" if high < 0.05 else f"{low:,.{digits}f} to {high:,.{digits}f}"


def assumptions(work: Workload, timed: Measured | None = None) -> list[str]:
    """What the estimate rests on, one line each; the head of this module has the model."""
    each = ", ".join(f"{gpu.name} ${gpu.usd_per_hour:g}" for gpu in GPUS)
    prices = f"assumed prices per GPU and hour: {each} (say yours with run.usd_per_hour)"
    if price := work.sections["run"].usd_per_hour:
        prices = f"${price:g} per hour for all machines (run.usd_per_hour)"
    lines = [
        *work.basis,
        f"an A100-80 reaches {UTILISATION:.0%} of its peak, and unpacking NF4 takes {TODAY[0]:g} to {TODAY[1]:g} "
        "times the time it took in a published table of Qwen-14B (github.com/QwenLM/Qwen, README); other cards by peak "
        "and bandwidth",
        "rows of a pass and checkpointing, where null: the fastest that fits, by this estimate",
        prices,
        f"{START_SECONDS_PER_GB:g} s to start per 10^9 bytes of weights; download, predict and evaluate not included",
        f"memory at the longest pass, {FRAGMENTED - 1:.0%} lost between blocks, {OVERHEAD / GIB:g} GiB for the context",
    ]
    if work.gpus > 1:
        lines.append(f"{work.gpus} GPUs are {work.gpus * SEVERAL_GPUS:g} times as fast as one")
    if timed:
        lines.append(f"{timed.gpu}: {timed.seconds:.3g} s a step of {timed.model}, by benchmarks.gpu")
    return lines
