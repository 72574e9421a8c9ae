"""Kill a small training at random places, again and again, and compare its end with the uninterrupted run's.

    python -m benchmarks.random_kills --kills 100

Half of the kills come at a moment of ``tests/killing.py``, the others whenever the clock says so. Prints a Markdown
table: kills by moment, and how many finished runs were equal bit for bit.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.timing import table
from socrates.runs import checkpoints
from tests import killing, tiny_trainer
from tests.forked import in_process

SHARE_KILLED = 0.75  # of attempts; the others run to the end
ANY_TIME = "any time"
NAMES = ("out/adapter_model.safetensors", "out/curve.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    killed: Counter[str] = Counter()
    runs = equal = 0
    with tempfile.TemporaryDirectory() as name:
        expected, again = (Path(name) / kind for kind in ("uninterrupted", "timed"))
        assert attempt(expected) == 0  # and whatever is slow only once
        started = time.monotonic()
        assert attempt(again) == 0
        longest = time.monotonic() - started
        while killed.total() < arguments.kills:
            folder, code = Path(name) / f"run-{runs}", -1
            while code:
                moment = str(rng.choice([*killing.MOMENTS, *[ANY_TIME] * len(killing.MOMENTS)]))
                if rng.random() > SHARE_KILLED:
                    code = attempt(folder)
                elif moment == ANY_TIME:
                    code = attempt(folder, seconds=rng.uniform(0, longest))
                else:
                    code = attempt(folder, place(rng, moment, folder))
                assert code in (0, -signal.SIGKILL), f"{moment}: exit status {code}"
                killed[moment] += code != 0
            runs += 1
            equal += all((folder / one).read_bytes() == (expected / one).read_bytes() for one in NAMES)
    print(table(["killed while", "kills"], [*killed.items(), ("all", killed.total())]))
    print(f"\n{equal} of {runs} runs ended bit for bit like the uninterrupted one.")


def attempt(folder: Path, kill: str | None = None, seconds: float | None = None) -> int:
    """The exit status of a training in ``folder`` that is killed at a place, or after so many seconds, if at all."""
    folder.mkdir(exist_ok=True)
    return in_process(train, folder, kill, seconds)


def train(folder: Path, kill: str | None, seconds: float | None) -> None:
    """For a process of its own."""
    if seconds is not None:
        killer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        killer.daemon = True
        killer.start()
    tiny_trainer.train(folder, kill)


def place(rng: np.random.Generator, moment: str, folder: Path) -> str:
    """A step after the newest checkpoint that passes this moment, and the moment."""
    roots = list((folder / "scratch/train").glob("*"))
    complete = checkpoints.list_checkpoints(roots[0]) if roots else []
    first = 1 + (checkpoints.step_of(complete[-1]) or 0 if complete else 0)
    every = 1 if moment == "training" else tiny_trainer.SAVE_STEPS
    steps = [step for step in range(first, tiny_trainer.STEPS + 1) if step % every == 0]
    return f"{rng.choice(steps or [tiny_trainer.STEPS])}:{moment}"


if __name__ == "__main__":
    main()
