"""Peak memory of training at equal rows per step: the shared path against TRL's trainer.

    python -m benchmarks.training_memory

Each way runs in a process of its own: the trainer is made, one epoch of two steps warms it up, then the
kernel's high-water mark of resident memory is set back, and what the mark grows to during a second epoch,
above the resident memory before it, is the growth. Large tensors go back to the system when they are freed
(MALLOC_MMAP_THRESHOLD_), so that the mark is of tensors alive. The median of three processes. TRL's padding-free
rows are left out: without flash attention they need a mask over all rows of a pass. That the ways give one loss
and one gradient is checked first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import conditions, table
from benchmarks.training import GROUPED, OURS, PADDED, check_equal, make, run_once, trainers
from benchmarks.workload import PROFILES, cpu_model, one_thread, rows

WAYS = [PADDED, GROUPED, OURS]
MICRO, STEPS = 32, 2
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("PROFILE", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        profile, way = map(int, args.child)
        print(growth(profile, WAYS[way]))
        return
    started = time.perf_counter()
    with one_thread():
        print(conditions(args.rounds), flush=True)
    lines = []
    for number, profile in enumerate(PROFILES[:2]):
        data = rows(profile, 1, MICRO, "1..7")
        print(check_equal(trainers(cpu_model(), data, profile, WAYS, MICRO), data, MICRO), flush=True)
        grown = [[in_a_process(number, way) / MIB for _ in range(args.rounds)] for way in range(len(WAYS))]
        medians = [float(np.median(values)) for values in grown]
        lines.append([f"{profile.name}, G {profile.group}", *medians, medians[-1] / min(medians[:-1])])
    print("\n" + table(["profile", *(f"{way}, MiB" for way in WAYS), "share of the best of TRL"], lines))
    print(
        f"\ngrowth of peak resident memory, {MICRO} rows a step; {time.perf_counter() - started:.0f} s in all"
    )


def in_a_process(profile: int, way: int) -> int:
    """Bytes, from a fresh process."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.training_memory", "--child", str(profile), str(way)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{WAYS[way]}: {done.stderr.strip()[-500:]}")
    return int(done.stdout.split()[-1])


def growth(profile: int, way: str) -> int:
    """Bytes by which training raises the peak of this process's resident memory."""
    with one_thread():
        shape = PROFILES[profile]
        data = rows(shape, STEPS * MICRO // shape.group, shape.group, "1..7")
        epoch = run_once(make(cpu_model(), way, data, shape, MICRO))
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
