"""Training end to end, the shared path against TRL's SFTTrainer with PEFT: rows per second.

    python -m benchmarks.training_speed [--rounds 3] [--profiles 0 1 2 3]

Both are the real trainers, with their collators, optimiser and logging, on a four-layer float32 model with LoRA
on all linear layers and loss on the answer alone. TRL runs padded, padded and grouped by length, and
padding-free: 4 respondents in one row with a block-diagonal mask, which is what packing comes to without flash
attention (32 in a row are many times slower). The ratio is to the best of them. No profile is reported before
all ways gave the same loss and gradient.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from benchmarks.timing import arguments, conditions, interleaved, ratio, table
from benchmarks.training import GROUPED, OURS, PACKED, PADDED, check_equal, run_once, trainers
from benchmarks.workload import PROFILES, Profile, cpu_model, rows

TRL = [PADDED, GROUPED, PACKED]
MICRO = 32  # rows in a forward pass
STEPS = 2  # of a round


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__, rounds=3)
    parser.add_argument("--profiles", type=int, nargs="+", default=range(len(PROFILES)))
    args = parser.parse_args()
    torch.set_num_threads(1)  # on a shared machine the second core is not ours to count on
    started = time.perf_counter()
    print(conditions(args.rounds), flush=True)
    header = ["profile", *(f"{way}, rows/s" for way in [*TRL, OURS]), "times the best of TRL"]
    lines = [speed(PROFILES[number], args.rounds) for number in args.profiles]
    print("\n" + table(header, lines))
    print(f"\n{MICRO} rows in a pass, {STEPS} passes a round; {time.perf_counter() - started:.0f} s in all")


def speed(profile: Profile, rounds: int) -> list[object]:
    """Rows per second of each way."""
    data = rows(profile, STEPS * MICRO // profile.group, profile.group, "1..7")
    made = trainers(cpu_model(), data, profile, [*TRL, OURS], MICRO)
    print(f"{profile.name}: {check_equal(made, data, MICRO)}", flush=True)
    seconds = interleaved({name: run_once(trainer) for name, trainer in made.items()}, rounds)
    speeds = {name: len(data) / float(np.median(taken)) for name, taken in seconds.items()}
    best = max(TRL, key=lambda name: speeds[name])
    return [f"{profile.name}, G {profile.group}", *speeds.values(), ratio(seconds, best, OURS)]


if __name__ == "__main__":
    main()
