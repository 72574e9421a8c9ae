"""Training end to end, the shared path against TRL's SFTTrainer with PEFT: rows per second, or peak memory.

    python -m benchmarks.training_speed [--rounds 3] [--profiles 0 1 2 3]
    python -m benchmarks.training_speed --memory

Both are the real trainers, with their collators, optimiser and logging, on a four-layer float32 model with LoRA
on all linear layers and loss on the answer alone. TRL runs padded, padded and grouped by length, and
padding-free: 4 respondents in one row with a block-diagonal mask, which is what packing comes to without flash
attention (32 in a row are many times slower). The ratio is to the best of them. No profile is reported before
all ways gave the same loss and gradient.

For memory, each way runs in a process of its own: one epoch of two steps warms it up, then the kernel's
high-water mark of resident memory is set back, and what the mark grows to during a second epoch, above the
resident memory before it, is the growth. Large tensors go back to the system when they are freed
(MALLOC_MMAP_THRESHOLD_), so that the mark is of tensors alive. Padding-free rows are left out: without flash
attention they need a mask over all rows of a pass.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import arguments, conditions, interleaved, ratio, table
from benchmarks.training import GROUPED, OURS, PACKED, PADDED, check_equal, make, run_once, trainers
from benchmarks.workload import PROFILES, Profile, cpu_model, rows

TRL = [PADDED, GROUPED, PACKED]
MEMORY = [PADDED, GROUPED, OURS]
MICRO = 32  # rows in a forward pass
STEPS = 2  # of a round
MIB = 2**20


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__, rounds=3)
    parser.add_argument("--profiles", type=int, nargs="+", default=range(len(PROFILES)))
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed, of two profiles")
    parser.add_argument(
        "--child", nargs=2, metavar=("PROFILE", "WAY"), help="growth of one way, for --memory"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)  # on a shared machine the second core is not ours to count on
    if args.child:
        print(growth(PROFILES[int(args.child[0])], args.child[1]))
        return
    started = time.perf_counter()
    print(conditions(args.rounds), flush=True)
    if args.memory:
        header = ["profile", *(f"{way}, MiB" for way in MEMORY), "share of the best of TRL"]
        lines = [memory(number, args.rounds) for number in (0, 1)]
    else:
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


def memory(number: int, rounds: int) -> list[object]:
    """Growth of peak memory of each way, in MiB: medians of as many processes as rounds."""
    profile = PROFILES[number]
    data = rows(profile, 1, MICRO, "1..7")
    print(check_equal(trainers(cpu_model(), data, profile, MEMORY, MICRO), data, MICRO), flush=True)
    medians = [float(np.median([in_a_process(number, way) / MIB for _ in range(rounds)])) for way in MEMORY]
    return [f"{profile.name}, G {profile.group}", *medians, medians[-1] / min(medians[:-1])]


def in_a_process(profile: int, way: str) -> int:
    """:func:`growth` in bytes, from a fresh process."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.training_speed", "--child", str(profile), way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr.strip()[-500:]}")
    return int(done.stdout.split()[-1])


def growth(profile: Profile, way: str) -> int:
    """Bytes by which training raises the peak of this process's resident memory."""
    data = rows(profile, STEPS * MICRO // profile.group, profile.group, "1..7")
    epoch = run_once(make(cpu_model(), way, data, profile, MICRO))
    epoch()
    Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets VmHWM
    before = _status("VmRSS")
    epoch()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A size of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status: no {field}; this benchmark needs Linux")


if __name__ == "__main__":
    main()
