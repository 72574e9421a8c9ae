"""Training rows per second: the shared path against TRL's SFTTrainer with PEFT, end to end.

    python -m benchmarks.training_speed [--rounds 3] [--profiles 0 1 2 3]

Both are the real trainers, with their collators, optimiser and logging, on a four-layer float32 model with LoRA
on all linear layers and loss on the answer alone. TRL runs padded, padded and grouped by length, and
padding-free: 4 respondents in one row with a block-diagonal mask, which is what packing comes to without flash
attention (32 in a row are many times slower). The ratio is to the fastest of them. No profile is reported before
all ways gave the same loss and gradient.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.timing import conditions, interleaved, ratio, table
from benchmarks.training import GROUPED, OURS, PACKED, PADDED, check_equal, run_once, trainers
from benchmarks.workload import PROFILES, Profile, cpu_model, one_thread, rows

TRL = [PADDED, GROUPED, PACKED]
MICRO = 32  # rows in a forward pass
ROWS = 64  # rows in a round


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profiles", type=int, nargs="+", default=range(len(PROFILES)))
    args = parser.parse_args()
    rounds = args.rounds
    started = time.perf_counter()
    with one_thread():
        print(conditions(rounds))
        results = [measure(PROFILES[number], rounds) for number in args.profiles]
    print()
    print(table(["profile", *TRL, OURS, "times the best of TRL"], results))
    print(
        f"\nrows per second; {ROWS} rows a round, {MICRO} in a pass; {time.perf_counter() - started:.0f} s in all"
    )


def measure(profile: Profile, rounds: int) -> list[object]:
    """One line of the table."""
    data = rows(profile, ROWS // profile.group, profile.group, "1..7")
    made = trainers(cpu_model(), data, profile, [*TRL, OURS], MICRO)
    print(f"{profile.name}: {check_equal(made, data, MICRO)}", flush=True)
    seconds = interleaved({name: run_once(trainer) for name, trainer in made.items()}, rounds)
    speeds = {name: ROWS / float(np.median(taken)) for name, taken in seconds.items()}
    best = max(TRL, key=lambda name: speeds[name])
    return [f"{profile.name}, G {profile.group}", *speeds.values(), ratio(seconds, best, OURS)]


if __name__ == "__main__":
    main()
