"""Kill a small training at random places, again and again, and compare its end with the uninterrupted run's.

    python -m benchmarks.random_kills --kills 100

Half of the kills come at a moment of ``tests/killing.py``, the others whenever the clock says so. Prints a Markdown
table: kills by moment, and how many finished runs were equal bit for bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from socrates.runs import checkpoints
from tests import killing, tiny_trainer

SHARE_KILLED = 0.75  # of attempts; the others run to the end
ANY_TIME = "any time"
NAMES = ("adapter_model.safetensors", "curve.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tiny_trainer", "deepspeed", "peft.tuners.lora.bnb"])

    def attempt(folder: Path, kill: str | None = None, seconds: float | None = None) -> int | None:
        process = context.Process(target=tiny_trainer.train, args=(folder, kill))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
        return process.exitcode

    rng = np.random.default_rng(arguments.seed)
    killed: Counter[str] = Counter()
    runs = equal = 0
    with tempfile.TemporaryDirectory() as name:
        expected = Path(name) / "uninterrupted"
        expected.mkdir()
        assert attempt(expected) == 0
        started = time.monotonic()
        (Path(name) / "timed").mkdir()
        assert attempt(Path(name) / "timed") == 0
        longest = time.monotonic() - started
        while killed.total() < arguments.kills:
            folder = Path(name) / f"run-{runs}"
            folder.mkdir()
            code: int | None = None
            while code != 0:
                moment = _moment(rng)
                place = _place(rng, moment, folder) if moment in killing.MOMENTS else None
                code = attempt(folder, place, rng.uniform(0, longest) if moment == ANY_TIME else None)
                assert code in (0, -signal.SIGKILL), f"{moment}: exit status {code}"
                if code and moment:
                    killed[moment] += 1
            runs += 1
            equal += all(
                (folder / "out" / one).read_bytes() == (expected / "out" / one).read_bytes() for one in NAMES
            )
    print("| killed while | kills |\n|---|---|")
    for moment in (*killing.MOMENTS, ANY_TIME):
        print(f"| {moment} | {killed[moment]} |")
    print(
        f"| all | {killed.total()} |\n\n{equal} of {runs} runs ended bit for bit like the uninterrupted one."
    )


def _moment(rng: np.random.Generator) -> str | None:
    """When to kill the next attempt, if at all."""
    if rng.random() > SHARE_KILLED:
        return None
    return ANY_TIME if rng.random() < 0.5 else str(rng.choice(killing.MOMENTS))


def _place(rng: np.random.Generator, moment: str, folder: Path) -> str:
    """A step after the newest checkpoint that passes this moment."""
    roots = list((folder / "scratch/train").glob("*"))
    complete = checkpoints.list_checkpoints(roots[0]) if roots else []
    first = 1 + (checkpoints.step_of(complete[-1]) or 0 if complete else 0)
    steps = [
        step
        for step in range(first, tiny_trainer.STEPS + 1)
        if moment == "training" or step % tiny_trainer.SAVE_STEPS == 0
    ]
    return f"{rng.choice(steps) if steps else tiny_trainer.STEPS}:{moment}"


if __name__ == "__main__":
    main()
