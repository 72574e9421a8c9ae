"""How much the benchmarks compute, and on what: on a GPU, on one thread of a CPU, or in miniature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.timing import here
from benchmarks.workload import PROFILES, Profile, config, cpu_model, nf4_model, small
from socrates.tools.estimate import DIMS, ModelDims

# The loss of the small model is about 7: 1e-5 is some ten units in the last place of a float32.
EXACT = (1e-5, 0.9999)


def qwen_14b() -> Qwen2ForCausalLM:
    return nf4_model(config(DIMS["Qwen/Qwen2.5-14B-Instruct"]), here(), torch.bfloat16)


def qwen_half_b(layers: int) -> Qwen2Config:
    """The widths of Qwen2.5-0.5B, which has 24 layers."""
    return config(ModelDims(layers, 896, 4864, 151936, 14, 2, tied=True))


@dataclass(frozen=True)
class Plan:
    """How much is computed: on a GPU, unless said otherwise.

    Attributes:
        model: of training and prediction; small: by its layers; of merging and GRPO, whose weights are written.
        preset: of the params of training.
        micro: rows of a training pass; passes: of a round.
        alike: in training, at most in loss and at least in the cosine of gradients.
        scenarios, respondents: of prediction, ``respondents`` of each scenario; few: of a baseline, by scale.
        batches: rows of a pass that a baseline may choose from; tokens: of one of our passes.
        tolerance: of probabilities, relative to a respondent's largest.
        completions: of a step of GRPO, and their tokens.
    """

    model: Callable[[], Qwen2ForCausalLM] = qwen_14b
    small: Callable[[int], Qwen2Config] = qwen_half_b
    dtype: torch.dtype = torch.bfloat16
    preset: tuple[str, ...] = ("full",)
    global_batch: int = 256
    profiles: Sequence[Profile] = (PROFILES[0], PROFILES[3])
    micro: int = 32
    passes: int = 2
    gradient_checkpointing: bool = True
    alike: tuple[float, float] = (0.05, 0.98)
    scenarios: int = 2
    respondents: int = 32
    few: tuple[int, int] = (16, 2)
    batches: tuple[int, ...] = (64,)
    tokens: int = 16384
    tolerance: float = 0.1
    completions: tuple[int, int] = (64, 200)


FULL = Plan()
CPU = Plan(
    model=cpu_model,
    profiles=PROFILES,
    gradient_checkpointing=False,
    alike=EXACT,
    scenarios=8,
    few=(32, 4),
    batches=(16, 64),
    tokens=4096,
    tolerance=1e-5,
)
SHORTER = {"shared": 18, "own": 5, "shared_spread": 0, "own_spread": 2}
TINY = replace(
    CPU,
    model=lambda: nf4_model(small(2), here(), torch.float32),
    small=lambda layers: small(2),
    dtype=torch.float32,
    preset=(),
    global_batch=8,
    profiles=[replace(profile, **SHORTER) for profile in FULL.profiles],
    micro=4,
    passes=1,
    gradient_checkpointing=True,
    scenarios=1,
    respondents=3,
    few=(2, 1),
    batches=(8,),
    tokens=2048,
    completions=(8, 8),
)


def random_model(plan: Plan) -> Qwen2ForCausalLM:
    """The model of training and prediction."""
    model = plan.model()
    print(f"{model.num_parameters() / 1e9:.2f} billion parameters", flush=True)
    return model
