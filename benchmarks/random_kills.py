"""Kill a small training at random places, again and again, and compare its end with the uninterrupted run's.

    python -m benchmarks.random_kills --kills 100

Prints a Markdown table: kills by moment, and how many finished runs were equal bit for bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from socrates.runs import checkpoints
from tests import killing, tiny_trainer

SHARE_KILLED = 0.75  # of attempts; the others run to the end


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tiny_trainer", "deepspeed", "peft.tuners.lora.bnb"])

    def attempt(root: Path, out: Path, kill: str | None = None) -> int | None:
        process = context.Process(target=tiny_trainer.train, args=(root, out, kill))
        process.start()
        process.join()
        return process.exitcode

    rng = np.random.default_rng(arguments.seed)
    killed: Counter[str] = Counter()
    runs = equal = 0
    with tempfile.TemporaryDirectory() as folder:
        expected = Path(folder) / "expected"
        assert attempt(Path(folder) / "uninterrupted", expected) == 0
        while killed.total() < arguments.kills:
            root, out = Path(folder) / f"run-{runs}", Path(folder) / f"out-{runs}"
            code: int | None = None
            while code != 0:
                place = _place(rng, root) if rng.random() < SHARE_KILLED else None
                code = attempt(root, out, place)
                assert code in (0, -signal.SIGKILL), f"{place}: exit status {code}"
                if code and place:
                    killed[place.split(":")[1]] += 1
            runs += 1
            names = ("adapter_model.safetensors", "curve.json")
            equal += all((out / name).read_bytes() == (expected / name).read_bytes() for name in names)
    print("| killed while | kills |\n|---|---|")
    for moment in killing.MOMENTS:
        print(f"| {moment} | {killed[moment]} |")
    print(
        f"| all | {killed.total()} |\n\n{equal} of {runs} runs ended bit for bit like the uninterrupted one."
    )


def _place(rng: np.random.Generator, root: Path) -> str:
    """A step after the newest checkpoint, and a moment that this step passes."""
    sealed = checkpoints.sealed(root)
    first = 1 + (checkpoints.step_of(sealed[-1]) or 0 if sealed else 0)
    moment = str(rng.choice(killing.MOMENTS))
    steps = [
        step
        for step in range(first, tiny_trainer.STEPS + 1)
        if moment == "training" or step % tiny_trainer.SAVE_STEPS == 0
    ]
    return f"{rng.choice(steps)}:{moment}" if steps else f"{tiny_trainer.STEPS}:{moment}"


if __name__ == "__main__":
    main()
