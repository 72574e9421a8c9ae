"""Training speed with the backup on, against the same with it off.

    python -m benchmarks.backup_speed

Runs come in pairs, one with and one without, in an order that is turned round from pair to pair, so that
what else the machine does, and a drift of it, falls on both alike. Each pair gives one ratio; the median of
the ratios is the result, and an interval of it shows what the noise allows to say. A first pair, in which
everything is loaded, is thrown away. The store is a real S3 server on this machine, which costs more here
than one elsewhere would: it shares the cores.

Checkpoints carry ballast, so that as many bytes per second of training leave the process as in the one-percent
preset: 1.1 GB (16 bytes for each of 68.8 million adapter parameters) every 20 steps of 99 s (91 steps in two and a
half hours, as the seeds report), 0.56 MB per second. What a checkpoint costs whatever its size comes once in some
four seconds here, once in 33 minutes there.

The wall clock counts other people's work too. What the uploader itself takes is the processor time of all threads
but the one that trains, hashing included; where a core is free for the store, training can lose no more than that.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from socrates.runs.backup import Backup, open_store
from socrates.runs.callbacks import Durability
from socrates.runs.guards import Step
from tests import tiny_trainer
from tests.s3_server import BUCKET, KEY, SECRET, S3Server

SAVES = 2  # checkpoints in a run
BALLAST = 3_000_000  # bytes in each, for about five seconds of training


class Heavy(tiny_trainer.TinyTrainer):
    """A trainer whose checkpoints weigh as much, for the time between them, as those of a real run."""

    def _save_accumulators(self, folder: Path) -> None:
        super()._save_accumulators(folder)
        (folder / "ballast").write_bytes(os.urandom(BALLAST))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    seconds: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "s3")
        try:
            for pair in range(arguments.pairs + 1):
                for on in (False, True) if pair % 2 else (True, False):
                    seconds[on].append(_train(Path(folder) / f"{pair}-{on}", arguments.steps, server, on))
        finally:
            server.kill()
    off, on_ = (np.array(seconds[which][1:]) for which in (False, True))  # [pairs, 3]
    by_wall = off[:, 0] / on_[:, 0]
    uploading = 1 - (on_[:, 2] - off[:, 2]) / off[:, 1]
    print(
        "| pair | wall without backup, s | with | speed | other threads without, s | with | "
        "speed if all of it is lost |\n|---|---|---|---|---|---|---|"
    )
    for pair, (without, with_, wall, least) in enumerate(zip(off, on_, by_wall, uploading, strict=True), 1):
        print(
            f"| {pair} | {without[0]:.2f} | {with_[0]:.2f} | {wall:.1%} | {without[2]:.3f} | {with_[2]:.3f} | "
            f"{least:.1%} |"
        )
    print(f"\n{len(by_wall)} pairs of {arguments.steps} steps and {SAVES} checkpoints:")
    for name, ratios in {
        "by the wall clock": by_wall,
        "if all that the uploader takes is lost": uploading,
    }.items():
        low, high = _interval(ratios)
        print(
            f"speed with backup {name}: median {np.median(ratios):.1%} (95 % interval {low:.1%} to {high:.1%})"
        )


def _interval(ratios: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the median, over pairs drawn again."""
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _train(root: Path, steps: int, server: S3Server, on: bool) -> tuple[float, float, float]:
    """Wall seconds of the steps, checkpoints included and the wait for the last upload not, as it is no
    training; processor seconds of this process; those of them that other threads took."""
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
        Heavy,
        max_steps=steps,
        save_steps=steps // SAVES,
        eval_strategy="no",
        per_device_train_batch_size=16,
    )
    started, own = time.process_time(), time.thread_time()
    trainer.train()
    if backup:
        backup.drain(120)
        backup.close()
    processor = time.process_time() - started
    return sum(step.seconds for step in measured), processor, processor - (time.thread_time() - own)


if __name__ == "__main__":
    main()
