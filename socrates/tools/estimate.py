"""What a training needs and costs on named machines: memory per GPU, hours, dollars. All of it estimates.

Time. A frozen base of N matrix weights costs 2 N floating point operations a token forward, 2 N backward
(the gradient of the activations; frozen weights have none), and 2 N again where gradient checkpointing
computes the forward pass a second time; the adapter's own and attention's are left out. A machine does
them at its peak rate times a *utilisation* that one published run implies (:data:`UTILISATION`).
Sharing a scenario lowers the tokens, not the cost of a token.

Memory of one GPU: weights, the adapter with its gradients and Adam's state, what a forward pass keeps,
logits, and the CUDA context. Sharded over GPUs as the ZeRO stage says (Rajbhandari et al. 2020,
arXiv 1910.02054).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socrates.core.errors import ModelError
from socrates.model.params import Model
from socrates.tools.hardware import MACHINES, Hardware
from socrates.tools.workload import Workload
from socrates.training.params import Deepspeed, Lora, Train

GIB = 2**30
# The published 1 % run: 91 steps of 256 rows on one A100 in 2 to 3 hours. At 190 tokens a row, padded to 272
# (micro batches of 4), and 6 x 14.0e9 operations a token, that is 16 to 24 % of 312 TFLOP/s.
UTILISATION = {"slow": 0.158, "middle": 0.19, "fast": 0.237}
SEVERAL_GPUS = 0.9  # assumed: of N times one GPU's speed
START_SECONDS_PER_GB = 10.0  # assumed: reading and quantising the weights, per 10^9 bytes
OVERHEAD = 1.5 * GIB  # assumed: CUDA context, workspaces, DeepSpeed's buffers
FRAGMENTED = 1.1  # assumed: of the other memory, lost between blocks
ANSWER_TOKENS = (
    4  # of a row: at most three digits and the end; where a scenario is shared, only they have logits
)
LOGIT_BYTES = 10  # a logit in bfloat16, in float32, and its gradient in float32
CPU_RATE = 2e10  # operations per second of one core in float32; assumed

# What the seed project reports of its own runs.
REPORTED = {
    "smoke": "10 steps",
    "one-percent": "91 steps in 2 to 3 h on one A100, $2.20 (so $0.73 to $1.10 an hour)",
    "full": "9,644 steps, planned on four A100, no scenario shared",
}


@dataclass(frozen=True)
class Shape:
    """The parts of a decoder that memory and time depend on."""

    layers: int
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    tied: bool

    @property
    def linear(self) -> int:
        """Weights in the matrices of the layers: what NF4 quantises."""
        keys = self.hidden * self.kv_heads // self.heads
        return self.layers * (
            2 * self.hidden**2 + 2 * self.hidden * keys + 3 * self.hidden * self.intermediate
        )

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
        keys = self.hidden * self.kv_heads // self.heads
        sizes = {
            "q_proj": (self.hidden, self.hidden),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (self.hidden, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }
        return self.layers * lora.r * sum(sum(sizes[name]) for name in lora.target_modules if name in sizes)


SHAPES = {
    "Qwen/Qwen2.5-14B-Instruct": Shape(48, 5120, 13824, 152064, 40, 8, tied=False),
    "Qwen/Qwen2.5-0.5B-Instruct": Shape(24, 896, 4864, 151936, 14, 2, tied=True),
}


@dataclass(frozen=True)
class Need:
    """What a run needs of one kind of machine.

    Attributes:
        machine: its name.
        gpus: how many; 0 for a CPU.
        memory: bytes per GPU by what they hold.
        room: bytes that one has; None for a CPU.
        hours: ``slow``, ``middle``, ``fast``; empty where it cannot run.
        usd: the same, of all GPUs together.
        usd_per_hour: of all GPUs together.
        why_not: why it cannot run there; None when it can.
    """

    machine: str
    gpus: int
    memory: dict[str, float]
    room: float | None
    hours: dict[str, float]
    usd: dict[str, float]
    usd_per_hour: float
    why_not: str | None

    @property
    def total(self) -> float:
        """Bytes per GPU."""
        return sum(self.memory.values())


def shape(model: Model, base: Path) -> Shape:
    """The shape of the base model: of the params, of a table, or of its configuration on this machine.

    Raises:
        ModelError: nobody here knows it.
    """
    if model.builtin:
        tiny = model.tiny
        return Shape(
            tiny.layers,
            tiny.hidden_size,
            tiny.intermediate_size,
            tiny.vocab_size,
            tiny.heads,
            tiny.kv_heads,
            True,
        )
    if model.name in SHAPES:
        return SHAPES[model.name]
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(
            model.name, revision=model.revision, local_files_only=True, trust_remote_code=False
        )
        return Shape(
            found.num_hidden_layers,
            found.hidden_size,
            found.intermediate_size,
            found.vocab_size,
            found.num_attention_heads,
            found.num_key_value_heads,
            bool(found.tie_word_embeddings),
        )
    except (OSError, ValueError, AttributeError):
        raise ModelError(
            f"model.name {model.name}: its size is not known here; run dvc repro base first"
        ) from None


def memory(
    form: Shape, work: Workload, model: Model, lora: Lora, train: Train, deepspeed: Deepspeed, gpus: int
) -> dict[str, float]:
    """Bytes per GPU by what they hold, in bfloat16 compute, at the longest pass."""
    over = {stage: gpus if deepspeed.zero_stage >= stage else 1 for stage in (1, 2, 3)}
    if model.quantization == "nf4":
        per_weight = 0.5 + (1 / 64 + 4 / 64 / 256 if model.double_quantization else 4 / 64)
    else:
        per_weight = 2.0
    trainable = form.lora(lora)
    state = 12 * trainable / over[1]  # a float32 copy and Adam's two moments
    weights = (form.linear * per_weight + 2 * form.embeddings) / over[3]
    tokens = work.longest_pass
    of_layer = 2 * tokens * (8 * form.hidden + 4 * form.intermediate)
    kept = (
        2 * tokens * form.hidden * form.layers + of_layer
        if train.gradient_checkpointing
        else form.layers * of_layer
    )
    held = {
        "weights": 0.0 if deepspeed.offload and deepspeed.zero_stage == 3 else weights,
        "one layer, de-quantised": 2.0 * form.hidden * form.intermediate,
        "adapter and its gradients": 2 * trainable / over[3] + 4 * trainable / over[2],
        "optimiser": 0.0 if deepspeed.offload else state,
        "activations": float(kept),
        "logits": float(LOGIT_BYTES * _scored(work, train, tokens) * form.vocab),
    }
    lost = (FRAGMENTED - 1) * sum(held.values())
    return {**held, "between blocks": lost, "context and buffers": OVERHEAD}


def operations(form: Shape, work: Workload, train: Train) -> float:
    """Floating point operations of the run."""
    return of_training(form, train) * work.tokens + 2 * _multiplied(form) * work.evaluation_tokens


def of_training(form: Shape, train: Train) -> int:
    """Floating point operations of a token that is trained on (see the module's formula)."""
    return _of_weight(train) * _multiplied(form)


def _of_weight(train: Train) -> int:
    return 6 if train.gradient_checkpointing else 4


def _multiplied(form: Shape) -> int:
    """Weights that a token is multiplied with; the output layer as if no scenario were shared."""
    return form.linear + form.head


def _scored(work: Workload, train: Train, tokens: float) -> float:
    """Tokens that reach the vocabulary, of a pass of ``tokens``."""
    return work.micro * ANSWER_TOKENS if train.share_scenario else tokens


def needs(
    form: Shape,
    work: Workload,
    sections: Mapping[str, Any],
    gpus: int,
    cores: int,
    measured_rate: float | None,
) -> list[Need]:
    """The run on every named machine, ``gpus`` of each, and on this machine's CPU.

    Args:
        measured_rate: operations per second that this machine's CPU reached in an earlier run of the same
            model; None: assumed.
    """
    train, lora, model, deepspeed = (sections[name] for name in ("train", "lora", "model", "deepspeed"))
    work_to_do = operations(form, work, train)
    held = memory(form, work, model, lora, train, deepspeed, gpus)
    price = sections["run"].usd_per_hour
    found = [_on_gpu(machine, held, work_to_do, form, price, gpus) for machine in MACHINES]
    rate = measured_rate or CPU_RATE * cores
    hours = dict.fromkeys(UTILISATION, work_to_do / rate / 3600)
    usd = {speed: value * price for speed, value in hours.items()}
    return [*found, Need(f"CPU, {cores} cores", 0, {}, None, hours, usd, price, None)]


def _on_gpu(
    machine: Hardware, held: dict[str, float], work: float, form: Shape, usd_per_hour: float, gpus: int
) -> Need:
    room = machine.memory * GIB
    price = usd_per_hour or machine.usd_per_hour * gpus
    why_not = None
    if not machine.bfloat16:
        why_not = "has no bfloat16, in which GPUs train here"
    elif (total := sum(held.values())) > room:
        why_not = (
            f"needs {total / GIB:.1f} GiB; lower train.micro_batch or prompt.max_length, or deepspeed.offload"
        )
    hours: dict[str, float] = {}
    if why_not is None:
        start = 2 * (form.linear + form.embeddings) / 1e9 * START_SECONDS_PER_GB
        together = gpus * (SEVERAL_GPUS if gpus > 1 else 1.0)
        hours = {
            speed: (work / (machine.peak * 1e12 * share * together) + start) / 3600
            for speed, share in UTILISATION.items()
        }
    usd = {speed: value * price for speed, value in hours.items()}
    return Need(machine.name, gpus, held, room, hours, usd, price, why_not)


def assumptions(
    work: Workload, train: Train, usd_per_hour: float, gpus: int, measured_rate: float | None
) -> list[str]:
    """Everything the estimate rests on, one line each."""
    prices = ", ".join(f"{machine.name} ${machine.usd_per_hour:g}" for machine in MACHINES)
    return [
        *work.basis,
        f"{_of_weight(train)} operations per weight and token"
        + (
            " (2 forward, 2 again for gradient checkpointing, 2 backward)"
            if train.gradient_checkpointing
            else ""
        )
        + ", 2 in evaluations; attention and the adapter's own are left out",
        f"GPUs reach {UTILISATION['slow']:.0%} to {UTILISATION['fast']:.0%} of their peak, as the one published "
        "run implies (91 steps in 2 to 3 h on one A100); so that run is no test of this estimate",
        f"{gpus} GPUs are {gpus * SEVERAL_GPUS:g} times as fast as one" if gpus > 1 else "one GPU",
        f"${usd_per_hour:g} per hour for all machines (run.usd_per_hour)"
        if usd_per_hour
        else f"assumed prices per GPU and hour: {prices} (say yours with run.usd_per_hour)",
        f"{START_SECONDS_PER_GB:g} s to start per 10^9 bytes of weights; download, predict and evaluate not included",
        f"memory at the longest pass ({work.longest_pass:,} tokens), {FRAGMENTED - 1:.0%} lost between blocks, "
        f"{OVERHEAD / GIB:g} GiB for context and buffers",
        f"CPU: {measured_rate:.2g} operations per second, measured in the run of runs/train.jsonl"
        if measured_rate
        else f"CPU: {CPU_RATE:.0e} operations per second and core, assumed",
    ]
