"""The benchmarks of one GPU, in under nine minutes: python -m benchmarks.gpu [SECTION ...]

Seven sections, what matters most first, each in a process of its own that prints its table when it has one; a section
that fails, or for which no time is left, says so and the next begins. Nothing is fetched: the model of the shape of
Qwen2.5-14B is random and made on the card in NF4, layer by layer. Numbers are compared before times are, to what
bfloat16 allows; to the last digits of float32 the CPU benchmarks compare.

``--tiny`` runs the same sections with small models, on a CPU too, to show that they work: its figures mean nothing.
``--check`` only imports what they need. ``make gpu-kit`` packs all of it for a machine without network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.gpu_sections import FULL, SECTIONS, TINY, Plan
from benchmarks.timing import arguments, conditions, table
from socrates.core.errors import SocratesError, run
from socrates.core.params import load
from socrates.training.params import Train

HEADER = ["what", "against", "theirs", "ours", "unit", "ratio", "aim"]
SECONDS = 520.0  # of all sections; what is still at work then is ended


def main() -> None:
    parser = arguments(__doc__, rounds=2)
    parser.add_argument(
        "sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help="all if none is named"
    )
    parser.add_argument("--tiny", action="store_true", help="small models, to see that the code works")
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
    if len(args.sections) == 1:
        measure(args.sections[0], TINY if args.tiny else FULL, args.rounds)
    else:
        print(conditions(args.rounds), flush=True)
        every(args.sections or [*SECTIONS], ["--rounds", str(args.rounds), *["--tiny"] * args.tiny])
    if args.tiny:
        print("a miniature: these figures mean nothing", flush=True)


def every(names: Sequence[str], options: list[str], seconds: float = SECONDS) -> None:
    """Each section in a process of its own, within so many seconds in all."""
    started = time.perf_counter()
    for name in names:
        print(f"\n{name} ({time.perf_counter() - started:.0f} s so far)", flush=True)
        left = seconds - (time.perf_counter() - started)
        command = [sys.executable, "-m", "benchmarks.gpu", name, *options]
        try:
            status = subprocess.run(command, timeout=max(left, 0.1), check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"not measured: {name}: no time left", flush=True)
            continue
        if status:
            print(f"not measured: {name}: status {status}, see above", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s in all", flush=True)


def measure(name: str, plan: Plan, rounds: int) -> None:
    """Measure one section in this process, and print its table."""
    lines = SECTIONS[name](plan, rounds)
    print("\n" + table(HEADER, lines), flush=True)


if __name__ == "__main__":
    run(main)
