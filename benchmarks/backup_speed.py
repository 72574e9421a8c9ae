"""Training speed with the backup on, against the same with it off.

    python -m benchmarks.backup_speed

Runs take turns, so that what else the machine does falls on both. The store is a real S3 server on this
machine, which costs more here than one elsewhere would: it shares the cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from socrates.training.backup import Backup, open_store
from socrates.training.durable import Durability
from socrates.training.guards import Step
from tests import tiny_trainer
from tests.s3_server import BUCKET, KEY, SECRET, S3Server


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "s3")
        try:
            for number in range(arguments.rounds):
                for on in (False, True):
                    seconds[on].append(_train(Path(folder) / f"{number}-{on}", arguments.steps, server, on))
        finally:
            server.kill()
    off, on_ = statistics.median(seconds[False]), statistics.median(seconds[True])
    print(f"median seconds of {arguments.steps} steps: {off:.2f} without backup, {on_:.2f} with")
    print(f"speed with backup: {off / on_:.1%}")


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
        save_steps=steps // 3,
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
