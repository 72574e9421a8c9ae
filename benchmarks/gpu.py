"""The benchmarks of one GPU, in under nine minutes: python -m benchmarks.gpu

A random model of the shape of Qwen2.5-14B is made on the card in NF4, layer by layer; nothing is fetched. One
table: training with QLoRA and gradient checkpointing against TRL's trainer, padded by length and padding-free
with torch's flash attention; its peak memory; scoring against the log-likelihood of every option.
A line that fails or for which no time is left says so. Numbers are compared first, to what bfloat16 allows; to
the last digits of float32 the CPU benchmarks compare.

``--tiny`` runs the same lines with a small model, on a CPU too, to show that they work: its figures mean nothing.
``--check`` only imports what they need. ``make gpu-kit`` packs all of it for a machine without network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.prediction_speed import OPTIONS, Bench, Size
from benchmarks.quantised import nf4_model, qwen_14b
from benchmarks.timing import arguments, conditions, interleaved, ratio, table
from benchmarks.training import (
    COSINE,
    GROUPED,
    LOSS_TOLERANCE,
    OURS,
    PACKED_FLASH,
    check_equal,
    run_once,
    trainers,
)
from benchmarks.workload import PROFILES, Profile, config, rows
from socrates.core.errors import SocratesError, run
from socrates.core.params import load
from socrates.training.params import Train

HEADER = ["what", "against", "theirs", "ours", "unit", "ratio", "aim"]
Line = list[object]


@dataclass(frozen=True)
class Plan:
    """How much is computed: of full size, or in miniature.

    Attributes:
        profiles: as many as ``PROFILES``, in their order.
        micro: rows of a training pass; passes: of a round.
        loss, cosine: tolerances of the training check.
    """

    model: Callable[[], Qwen2Config]
    dtype: torch.dtype
    profiles: list[Profile]
    micro: int
    passes: int
    loss: float
    cosine: float
    prediction: Size
    seconds: float = 500


FULL = Plan(
    model=qwen_14b,
    dtype=torch.bfloat16,
    profiles=PROFILES,
    micro=32,
    passes=2,
    loss=0.05,
    cosine=0.98,
    prediction=Size(scenarios=2, respondents=32, few=(16, 2), batches=(64,), tokens=16384, tolerance=0.1),
)
SHORT = [replace(p, shared=p.shared // 8, own=p.own // 8, shared_spread=0, own_spread=2) for p in PROFILES]
TINY = Plan(
    model=lambda: config(layers=2),
    dtype=torch.float32,
    profiles=SHORT,
    micro=4,
    passes=1,
    loss=LOSS_TOLERANCE,
    cosine=COSINE,
    prediction=Size(scenarios=1, respondents=3, few=(2, 1), batches=(8,), tokens=2048, profile=SHORT[0]),
)


def main() -> None:
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--tiny", action="store_true", help="a small model, to see that the code works")
    parser.add_argument("--check", action="store_true", help="import all, print versions, and end")
    args = parser.parse_args()
    if args.check:
        load(Train)  # checks all sections, and so imports the modules of each
        print(
            f"{conditions(0)}; CUDA {torch.version.cuda}, {torch.cuda.device_count()} GPUs counted, ", end=""
        )
        print("usable" if torch.cuda.is_available() else "none usable")
        return
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # in a process with several, TRL refuses to train
    if not (args.tiny or torch.cuda.is_available()):
        raise SocratesError(
            "benchmarks.gpu: no GPU here; nothing was measured (--tiny tries the code on a CPU)"
        )
    report(TINY if args.tiny else FULL, args.rounds)


def report(plan: Plan, rounds: int) -> list[Line]:
    """Measure and print; returns the lines of the table."""
    started = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(conditions(rounds), flush=True)
    model = nf4_model(plan.model(), device, plan.dtype if device.type == "cuda" else torch.float32)
    print(f"{model.num_parameters() / 1e9:.2f} billion parameters, {time.perf_counter() - started:.0f} s")
    bench = Bench(model, plan.prediction, rounds)
    real, longer, persona, alone = plan.profiles
    # What matters most comes first: the time may run out.
    sections: dict[str, Callable[[], list[Line]]] = {
        "training, real rows": lambda: training(model, real, plan, rounds, "2.5"),
        "scoring, 7-point": lambda: scoring(bench, "7-point", "3"),
        "training, nothing shared": lambda: training(model, alone, plan, rounds, "0.95"),
        "training, 100/200": lambda: training(model, persona, plan, rounds, "0.95"),
        "training, 250/60": lambda: training(model, longer, plan, rounds, "2.5"),
        "scoring, 0-100": lambda: scoring(bench, "0-100", "12"),
    }
    lines: list[Line] = []
    for name, section in sections.items():
        if time.perf_counter() - started > 0.9 * plan.seconds:
            lines.append(not_measured(name, "", "no time left"))
            continue
        try:
            lines += section()
        except (Exception, SystemExit) as problem:  # the other lines are worth having
            lines.append(not_measured(name, "", problem))
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print("\n" + table(HEADER, lines))
    if plan is TINY:
        print("\na miniature: these figures mean nothing")
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    return lines


def not_measured(what: str, against: str, problem: object) -> Line:
    """The line of what failed."""
    reason = f"{type(problem).__name__} {problem}" if isinstance(problem, BaseException) else str(problem)
    return [what, against, f"not measured: {reason}".split("\n")[0][:150], "", "", "", ""]


def training(model: Qwen2ForCausalLM, profile: Profile, plan: Plan, rounds: int, aim: str) -> list[Line]:
    """Rows per second of each way of training, and peak memory above the model's.

    A way that fails (a kernel that this card lacks) is left out with a line; the shared path must work.
    """
    group = min(profile.group, plan.micro)
    shape = replace(profile, group=group)
    data = rows(shape, plan.passes * plan.micro // group, group, "1..7")
    what = f"training, {profile.name}, G {group}"
    lines: list[Line] = []
    made, peaks = {}, {}
    for name in (OURS, GROUPED, PACKED_FLASH):
        try:
            one = trainers(model, data, shape, [name], plan.micro, gradient_checkpointing=True)
            together = {OURS: made.get(OURS, one.get(OURS)), **one}
            print(f"{name}: {check_equal(together, data, plan.micro, plan.loss, plan.cosine)}", flush=True)
            made |= one
        except (Exception, SystemExit) as problem:
            if name == OURS:
                raise
            lines.append(not_measured(what, name, problem))

    def measured(name: str) -> Callable[[], float]:
        once = run_once(made[name])

        def way() -> float:
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()  # 0 without a GPU
            seconds = once()
            peaks[name] = torch.cuda.max_memory_allocated() - before
            return seconds

        return way

    seconds = interleaved({name: measured(name) for name in made}, rounds)
    speed = {name: len(data) / float(np.median(taken)) for name, taken in seconds.items()}
    for name in list(made)[1:]:
        lines.append([what, name, speed[name], speed[OURS], "rows/s", ratio(seconds, name, OURS), aim])
        if peaks[name]:
            theirs, ours = peaks[name] / 2**30, peaks[OURS] / 2**30
            lines.append([f"peak memory, {what}", name, theirs, ours, "GiB", ours / theirs, "at most 0.6"])
    return lines


def scoring(bench: Bench, scale: str, aim: str) -> list[Line]:
    """Respondents per second of exact distributions."""
    _, ours, theirs, times = bench.scoring(scale)
    return [[f"scoring, {scale}", OPTIONS, theirs, ours, "respondents/s", times, aim]]


if __name__ == "__main__":
    run(main)
