"""Training speed with the backup on, against the same with it off.

    python -m benchmarks.backup_speed

Runs come in pairs, one with and one without, in an order that is turned round from pair to pair, so that
what else the machine does, and a drift of it, falls on both alike. Each pair gives one ratio; the median of
the ratios is the result, and an interval of it shows what the noise allows to say. A first pair, in which
everything is loaded, is thrown away. The store is a real S3 server on this machine, which costs more here
than one elsewhere would: it shares the cores.

Checkpoints carry ballast, so that as many bytes per second of training leave the process as in the one-percent
preset: 1.1 GB (16 bytes for each of 68.8 million adapter parameters) every 20 steps of 99 s (91 steps in two and a
half hours, as the seeds report), 0.56 MB per second. What a checkpoint costs whatever its size comes once in about
five seconds here, once in 33 minutes there. Beside the wall clock, the processor time of the training process is
measured: the uploader is one of its threads, and what other work takes from the cores is not in it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from socrates.training.backup import Backup, open_store
from socrates.training.durable import Durability
from socrates.training.guards import Step
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
    seconds: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "s3")
        try:
            for pair in range(arguments.pairs + 1):
                for on in (False, True) if pair % 2 else (True, False):
                    seconds[on].append(_train(Path(folder) / f"{pair}-{on}", arguments.steps, server, on))
        finally:
            server.kill()
    off, on_ = (np.array(seconds[which][1:]) for which in (False, True))  # [pairs, 2]
    ratios = off / on_
    print(
        "| pair | wall without backup, s | with | speed | processor without, s | with | speed |\n"
        "|---|---|---|---|---|---|---|"
    )
    for pair in range(len(ratios)):
        cells = [f"{off[pair, c]:.2f} | {on_[pair, c]:.2f} | {ratios[pair, c]:.1%}" for c in range(2)]
        print(f"| {pair + 1} | {' | '.join(cells)} |")
    print(f"\n{len(ratios)} pairs of {arguments.steps} steps and {SAVES} checkpoints:")
    for clock, column in {"wall": 0, "processor": 1}.items():
        low, high = _interval(ratios[:, column])
        print(
            f"speed with backup by {clock} time: median {np.median(ratios[:, column]):.1%} (95 % interval "
            f"{low:.1%} to {high:.1%}; fastest of each {off[:, column].min() / on_[:, column].min():.1%})"
        )


def _interval(ratios: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the median, over pairs drawn again."""
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _train(root: Path, steps: int, server: S3Server, on: bool) -> tuple[float, float]:
    """Wall seconds of the steps, checkpoints included and the wait for the last upload not, as it is no
    training; and processor seconds of this process, with all uploads."""
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
    started = time.process_time()
    trainer.train()
    if backup:
        backup.drain(120)
        backup.close()
    return sum(step.seconds for step in measured), time.process_time() - started


if __name__ == "__main__":
    main()
