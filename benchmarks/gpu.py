"""The benchmarks of one GPU, in under nine minutes: python -m benchmarks.gpu

A random model of the shape of Qwen2.5-14B is made on the card in NF4, layer by layer; nothing is fetched. One
table: training with QLoRA and gradient checkpointing against TRL's trainer, padded by length and padding-free
with torch's flash attention; its peak memory; the packed tree by FlexAttention; scoring against the log-likelihood
of every option; sampling; the seed project's evaluation. A line that fails or for which no time is left says so.
Numbers are compared first, to what bfloat16 allows; to the last digits of float32 the CPU benchmarks compare.

``--tiny`` runs the same lines with a small model, on a CPU too, to show that they work: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.prediction_speed import CACHED, OPTIONS, Bench, Size
from benchmarks.quantised import nf4_model, qwen_14b
from benchmarks.timing import conditions, interleaved, ratio, table
from benchmarks.training import (
    COSINE,
    GROUPED,
    LOSS_TOLERANCE,
    OURS,
    OURS_FLEX,
    PACKED_FLASH,
    check_equal,
    run_once,
    trainers,
)
from benchmarks.workload import PROFILES, Profile, config, rows
from socrates.core.errors import SocratesError, run

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
    rounds: int
    seconds: float
    loss: float
    cosine: float
    prediction: Size


FULL = Plan(
    model=qwen_14b,
    dtype=torch.bfloat16,
    profiles=PROFILES,
    micro=32,
    passes=2,
    rounds=2,
    seconds=500,
    loss=0.05,
    cosine=0.98,
    prediction=Size(
        scenarios=2, respondents=32, few=(16, 2), batches=(64,), tokens=16384, greedy_rows=1, tolerance=0.1
    ),
)
SHORT = [replace(p, shared=p.shared // 8, own=p.own // 8, shared_spread=0, own_spread=2) for p in PROFILES]
TINY = Plan(
    model=lambda: config(layers=2),
    dtype=torch.float32,
    profiles=SHORT,
    micro=4,
    passes=1,
    rounds=1,
    seconds=500,
    loss=LOSS_TOLERANCE,
    cosine=COSINE,
    prediction=Size(
        scenarios=1,
        respondents=3,
        few=(2, 1),
        batches=(8,),
        tokens=2048,
        greedy_rows=1,
        greedy_tokens=4,
        profile=SHORT[0],
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a small model, to see that the code works")
    tiny = parser.parse_args().tiny
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # in a process with several, TRL refuses to train
    if not (tiny or torch.cuda.is_available()):
        raise SocratesError(
            "benchmarks.gpu: no GPU here; nothing was measured (--tiny tries the code on a CPU)"
        )
    report(TINY if tiny else FULL)


def report(plan: Plan) -> list[Line]:
    """Measure and print; returns the lines of the table."""
    started = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = plan.dtype if device.type == "cuda" else torch.float32
    print(conditions(plan.rounds), flush=True)
    model = nf4_model(plan.model(), device, dtype)
    print(
        f"{model.num_parameters() / 1e9:.2f} billion parameters, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    bench = Bench(model, plan.prediction, plan.rounds, lambda line: print(line, flush=True))
    real, longer, persona, alone = plan.profiles
    # What matters most comes first: the time may run out.
    sections: list[tuple[str, Callable[[], list[Line]]]] = [
        ("training, real rows", lambda: training(model, real, plan, "2.5", flex=True)),
        ("scoring, 7-point", lambda: scoring(bench, "7-point", "3")),
        ("training, nothing shared", lambda: training(model, alone, plan, "0.95")),
        ("training, 100/200", lambda: training(model, persona, plan, "0.95")),
        ("training, 250/60", lambda: training(model, longer, plan, "2.5")),
        ("sampling", lambda: sampling(bench)),
        ("scoring, 0-100", lambda: scoring(bench, "0-100", "12")),
        ("the seed project's evaluation", lambda: seed(bench)),
    ]
    lines: list[Line] = []
    for name, section in sections:
        left = plan.seconds - (time.perf_counter() - started)
        if left < 0.1 * plan.seconds:
            lines.append([name, *["not measured: no time left"] + [""] * 5])
            continue
        try:
            lines += section()
        except (Exception, SystemExit) as problem:  # the other lines are worth having
            reason = f"{type(problem).__name__} {problem}".split("\n")[0][:150]
            lines.append([name, *[f"not measured: {reason}"] + [""] * 5])
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print("\n" + table(HEADER, lines))
    if plan is TINY:
        print("\na miniature: these figures mean nothing")
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    return lines


def training(
    model: Qwen2ForCausalLM, profile: Profile, plan: Plan, aim: str, flex: bool = False
) -> list[Line]:
    """Rows per second of each way of training, and peak memory above the model's.

    A way that fails (a kernel that this card lacks) is left out with a line; the shared path must work.
    """
    group = min(profile.group, plan.micro)
    shape = replace(profile, group=group)
    data = rows(shape, plan.passes * plan.micro // group, group, "1..7")
    lines: list[Line] = []
    made, peaks = {}, {}
    for name in [OURS, GROUPED, PACKED_FLASH, *([OURS_FLEX] if flex else [])]:
        try:
            one = trainers(model, data, shape, [name], plan.micro, gradient_checkpointing=True)
            together = {OURS: made.get(OURS, one.get(OURS)), **one}
            print(
                f"{profile.name}: {name}: {check_equal(together, data, plan.micro, plan.loss, plan.cosine)}",
                flush=True,
            )
            made |= one
        except (Exception, SystemExit) as problem:
            if name == OURS:
                raise
            reason = f"{type(problem).__name__} {problem}".split("\n")[0][:150]
            lines.append([f"training, {profile.name}", name, f"not measured: {reason}", "", "", "", ""])

    def measured(name: str) -> Callable[[], float]:
        once = run_once(made[name])

        def way() -> float:
            before = _reset_peak()
            seconds = once()
            peaks[name] = _peak() - before
            return seconds

        return way

    seconds = interleaved({name: measured(name) for name in made}, plan.rounds)
    speed = {name: len(data) / float(np.median(taken)) for name, taken in seconds.items()}
    what = f"training, {profile.name}, G {group}"
    for name in made:
        if name != OURS:
            goal = aim if name != OURS_FLEX else ""
            lines.append([what, name, speed[name], speed[OURS], "rows/s", ratio(seconds, name, OURS), goal])
    for name in (GROUPED, PACKED_FLASH):
        if peaks.get(name):
            share = peaks[OURS] / peaks[name]
            lines.append(
                [
                    f"peak memory, {what}",
                    name,
                    peaks[name] / 2**30,
                    peaks[OURS] / 2**30,
                    "GiB",
                    share,
                    "at most 0.6",
                ]
            )
    return lines


def scoring(bench: Bench, scale: str, aim: str) -> list[Line]:
    """Respondents per second of exact distributions."""
    _, ours, options, cached, times_options, times_cached = bench.scoring(scale)
    what = f"scoring, {scale}"
    return [
        [what, OPTIONS, options, ours, "respondents/s", times_options, aim],
        [what, CACHED, cached, ours, "respondents/s", times_cached, ""],
    ]


def sampling(bench: Bench) -> list[Line]:
    """Respondents per second of exact distributions and of 20 sampled answers."""
    _, ours, theirs, times, error = bench.sampling("7-point")
    what = f"sampling, 7-point (leaves an error of W {error:.3g})"
    return [[what, "20 answers by generate", theirs, ours, "respondents/s", times, "10"]]


def seed(bench: Bench) -> list[Line]:
    """Rows per second of the seed project's evaluation."""
    aims = ["50", ""]
    return [
        ["seed project's evaluation", name, theirs, ours, "rows/s", times, aim]
        for (name, theirs, ours, times), aim in zip(bench.seed(), aims, strict=True)
    ]


def _reset_peak() -> int:
    """Bytes in use on the card, whose peak counts from now."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


if __name__ == "__main__":
    run(main)
