"""Training speed with the backup on, against the same with it off.

    python -m benchmarks.backup_speed

Runs come in pairs, one with and one without, in an order that is turned round from pair to pair, so that
what else the machine does, and a drift of it, falls on both alike. Each pair gives one ratio; the median of
the ratios is the result, and an interval of it shows what the noise allows to say. A first pair, in which
everything is loaded, is thrown away. The store is a real S3 server on this machine, which costs more here
than one elsewhere would: it shares the cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from socrates.training.backup import Backup, open_store
from socrates.training.durable import Durability
from socrates.training.guards import Step
from tests import tiny_trainer
from tests.s3_server import BUCKET, KEY, SECRET, S3Server

SAVES = 3  # checkpoints in a run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "s3")
        try:
            for pair in range(arguments.pairs + 1):
                for on in (False, True) if pair % 2 else (True, False):
                    seconds[on].append(_train(Path(folder) / f"{pair}-{on}", arguments.steps, server, on))
        finally:
            server.kill()
    off, on_ = (np.array(seconds[which][1:]) for which in (False, True))
    ratios = off / on_
    low, high = _interval(ratios)
    print("| pair | without backup, s | with, s | speed with backup |\n|---|---|---|---|")
    for pair, values in enumerate(zip(off, on_, ratios, strict=True), start=1):
        print("| {} | {:.2f} | {:.2f} | {:.1%} |".format(pair, *values))
    print(
        f"\nmedian of {len(ratios)} pairs of {arguments.steps} steps and {SAVES} checkpoints: "
        f"{np.median(ratios):.1%} (95 % interval {low:.1%} to {high:.1%}; "
        f"fastest of each against each other {off.min() / on_.min():.1%})"
    )


def _interval(ratios: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the median, over pairs drawn again."""
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _train(root: Path, steps: int, server: S3Server, on: bool) -> float:
    """Seconds of the steps, checkpoints included; the wait for the last upload is not training."""
    measured: list[Step] = []
    durability = Durability(tiny_trainer.MARK, keep=2, observers=[measured.append])
    backup = None
    if on:
        store = open_store(f"s3://{BUCKET}/{root.name}", "train", tiny_trainer.MARK, server.endpoint)
        store.complete()  # a run looks for a checkpoint to resume from before it trains
        backup = Backup(store, keep=2)
        durability.on_checkpoint = [backup.submit]
    trainer = tiny_trainer.build(
        root,
        durability,
        max_steps=steps,
        save_steps=steps // SAVES,
        eval_strategy="no",
        per_device_train_batch_size=16,
    )
    trainer.train()
    if backup:
        backup.drain(120)
        backup.close()
    return sum(step.seconds for step in measured)


if __name__ == "__main__":
    main()
