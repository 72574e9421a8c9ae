"""A cold ``python -m socrates predict --example 1`` on the model of this folder: how long, and how much is imports.

Processor seconds of the whole process, start and end included, since the cores may be shared; the outermost
imports are timed in a second process of each round, because timing them costs a little.

Run:  python -m benchmarks.cold_answer [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

ASK = ["predict", "--example", "1"]
IMPORTS = f"""
import atexit, builtins, runpy, sys, time
spent, inside, imported = 0.0, False, builtins.__import__
def timed(*args, **options):
    global spent, inside
    if inside:
        return imported(*args, **options)
    inside, start = True, time.process_time()
    try:
        return imported(*args, **options)
    finally:
        inside, spent = False, spent + time.process_time() - start
builtins.__import__ = timed
atexit.register(lambda: print(spent, file=sys.stderr))
sys.argv = ["socrates", *{ASK!r}]
runpy.run_module("socrates", run_name="__main__")
"""


def once(command: list[str]) -> tuple[float, float, str]:
    """Wall and processor seconds of a process, and what it wrote to standard error."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used, done.stderr


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description="A cold answer.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows = []
    for _ in range(rounds):
        wall, used, _ = once(["-m", "socrates", *ASK])
        rows.append((wall, used, float(once(["-c", IMPORTS])[2].split()[-1])))
    print(f"seconds, median of {rounds} (lowest to highest); load {os.getloadavg()[0]:.1f}")
    for name, values in zip(("wall", "processor", "of which imports"), zip(*rows, strict=True), strict=True):
        print(f"{name:<17}{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
