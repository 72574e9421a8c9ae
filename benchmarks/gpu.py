"""The benchmarks of one GPU, in under nine minutes: python -m benchmarks.gpu [--tiny] [--check] [SECTION ...]

Seven sections, what matters most first, each in a process of its own that prints its table when it has one; a section
that fails, or for which no time is left, says so and the next begins. Nothing is fetched: the model of the shape of
Qwen2.5-14B is random and made on the card in NF4, layer by layer. Numbers are compared before times are, to what
bfloat16 allows.

``--cpu`` runs ``trl`` and ``prediction`` alone, in minutes: a four-layer float32 model, numbers compared to the last
digits, on one thread, since on a shared machine the second core is not ours to count on. ``--tiny`` runs all sections
with small models, on a CPU too, to show that they work: its figures mean nothing. ``--check`` only imports what they
need. ``make gpu-kit`` packs all of it for a machine without network.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.gpu_sections import SECTIONS
from benchmarks.plans import CPU, FULL, TINY, Plan
from benchmarks.timing import conditions, table
from socrates.core.errors import SocratesError, run
from socrates.core.params import load
from socrates.training.params import Train

HEADER = ["what", "against", "theirs", "ours", "unit", "ratio"]
SECONDS = 520.0  # of all sections on a GPU; what is still at work then is ended


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help="else all")
    parser.add_argument("--cpu", action="store_true", help="trl and prediction on one thread of a CPU")
    parser.add_argument("--tiny", action="store_true", help="small models, to see that the code works")
    parser.add_argument("--check", action="store_true", help="import all, print versions, and end")
    args = parser.parse_args()
    if args.check:
        load(Train)  # checks all sections, and so imports the modules of each
        usable = "usable" if torch.cuda.is_available() else "none usable"
        print(
            f"{conditions(0)}; CUDA {torch.version.cuda}, {torch.cuda.device_count()} GPUs counted, {usable}"
        )
        return
    # In a process with several GPUs TRL refuses to train.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "" if args.cpu else "0")
    if args.cpu:
        torch.set_num_threads(1)
    elif not (args.tiny or torch.cuda.is_available()):
        problem = "no GPU here; nothing was measured (--tiny tries the code on a CPU)"
        raise SocratesError(f"benchmarks.gpu: {problem}")
    if len(args.sections) == 1:
        measure(args.sections[0], CPU if args.cpu else TINY if args.tiny else FULL, args.rounds)
    else:
        print(conditions(args.rounds), flush=True)
        options = ["--rounds", str(args.rounds), *["--tiny"] * args.tiny, *["--cpu"] * args.cpu]
        names = args.sections or (["trl", "prediction"] if args.cpu else [*SECTIONS])
        every(names, options, 3600.0 if args.cpu else SECONDS)
    if args.tiny:
        print("a miniature: these figures mean nothing", flush=True)


def every(names: Sequence[str], options: list[str], seconds: float) -> None:
    """Each section in a process of its own, within so many seconds in all."""
    started = time.perf_counter()
    for name in names:
        passed = time.perf_counter() - started
        print(f"\n{name} ({passed:.0f} s so far)", flush=True)
        command = [sys.executable, "-m", "benchmarks.gpu", name, *options]
        try:
            subprocess.run(command, timeout=max(seconds - passed, 0.1), check=True)
        except subprocess.TimeoutExpired:
            print(f"not measured: {name}: no time left", flush=True)
        except subprocess.CalledProcessError as failed:
            print(f"not measured: {name}: status {failed.returncode}, see above", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s in all", flush=True)


def measure(name: str, plan: Plan, rounds: int) -> None:
    """Measure one section in this process, and print its table."""
    print("\n" + table(HEADER, SECTIONS[name](plan, rounds)), flush=True)


if __name__ == "__main__":
    run(main)
