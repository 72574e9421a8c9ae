"""One training run kept safe: its folder and lock, where it resumes, its backup, guards and log."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from socrates.core.errors import TERMINATED, TrainingError
from socrates.runs.backup import Backup, open_store, resume_point
from socrates.runs.callbacks import Durability, Durable
from socrates.runs.checkpoints import read_manifest, sealed, sweep
from socrates.runs.fingerprint import RunConfig, explain_fresh_start, fingerprint, run_directory_lock
from socrates.runs.guards import LossGuard, Step, Stop, Termination, Watchdog
from socrates.runs.launch import Place, told_by_first, wait_for_all
from socrates.runs.log import RunLog
from socrates.runs.params import Run
from socrates.runs.progress import Meter


@dataclass
class Safety:
    """What a trainer gets to run safely.

    Attributes:
        place: of this process.
        folder: where checkpoints lie.
        resume: the checkpoint to go on from, or None.
        durability: for :class:`socrates.runs.callbacks.Durable`.
        log: the run's log, on process 0 only.
        backup: None without a store, and on other processes.
    """

    place: Place
    folder: Path
    resume: Path | None
    durability: Durability
    log: RunLog | None
    backup: Backup | None

    def train(self, trainer: Durable, finish_minutes: float) -> None:
        """Train from where the run resumes and wait for the backlog of the backup.

        Raises:
            TrainingError: with the checkpoints that are not backed up.
            SystemExit: with :data:`~socrates.core.errors.TERMINATED` after SIGTERM, backed up or not.
        """
        # DeepSpeed's own meetings are called off after ten minutes: nobody goes to one while another process still
        # fetches the model, or the first one waits for the backup.
        wait_for_all(self.place)
        trainer.train(resume_from_checkpoint=None if self.resume is None else str(self.resume))
        termination = self.durability.termination
        if self.durability.watchdog is not None:
            self.durability.watchdog.rest()
        if trainer.terminated and termination is not None:
            try:
                if self.backup is not None:
                    self.backup.drain(termination.left)
            except TrainingError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
            wait_for_all(self.place)  # a launcher kills the first process soon after another has ended
            raise SystemExit(TERMINATED)
        if self.backup is not None:
            self.backup.drain(finish_minutes * 60)
        if self.log is not None:
            self.log.write("end", step=trainer.state.global_step)
        wait_for_all(self.place)


class Records(TrainerCallback):
    """Writes validation losses to the run's log."""

    def __init__(self, log: RunLog) -> None:
        self.log = log

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.write("evaluate", step=state.global_step, eval_loss=float(kwargs["metrics"]["eval_loss"]))


@contextlib.contextmanager
def kept_safe(
    stage: str, place: Place, config: RunConfig, run: Run, steps: int, log_path: Path
) -> Iterator[Safety]:
    """Own the run of a fingerprint for the block; the processes must have found each other already.

    Process 0 holds the lock, fetches from the store and tells the others where to resume.

    Raises:
        TrainingError: another process runs this fingerprint, the scratch cannot be written, the store's
            URL cannot be used, a checkpoint is of another number of processes.
    """
    mark = fingerprint(config)
    with contextlib.ExitStack() as stack:
        store = open_store(run.backup.url, stage, mark, run.backup.endpoint_url) if run.backup.url else None
        log, backup, watchdog = None, None, None
        folder, resume, start = Path(), None, 0
        if place.first:
            folder = stack.enter_context(run_directory_lock(stage, config))
            sweep(folder)
            resume = resume_point(folder, mark, place.processes, store)
            if resume is None and (reason := explain_fresh_start(folder, config)):
                print(f"{stage}: {reason}", flush=True)
            if resume is not None:
                print(f"{stage}: resuming from {resume}", flush=True)
                start = read_manifest(resume).step
        folder, resume = told_by_first(place, (folder, resume))
        observers: list[Any] = []
        on_checkpoint: list[Any] = []
        if place.first:
            log = RunLog(
                log_path, usd_per_hour=run.usd_per_hour, fingerprint=mark, resumed_from=start, steps=steps
            )
            stack.callback(log.close)
            log.write("machine", **machine(place))
            if store is not None:
                backup = Backup(store, run.keep_checkpoints)
                stack.callback(backup.close)
                for folder_ in sealed(folder):  # one that an earlier attempt could not get away
                    backup.submit(folder_)
                on_checkpoint.append(backup.submit)
            write_step, state = log.step, (lambda: backup.state.as_dict() if backup else None)
            meter = Meter(lambda: log.usd, lambda: str(backup.state) if backup else "", run.log_steps)
            stack.callback(meter.close)

            def record(step: Step) -> None:
                write_step(step, state())

            observers = [record, meter]
            on_checkpoint.append(lambda path: log.write("checkpoint", path=path.name))
            if run.stall_minutes is not None:

                def last_words() -> None:
                    if backup is not None:
                        backup.drain(run.backup.stop_seconds)

                watchdog = stack.enter_context(Watchdog(run.stall_minutes * 60, last_words))
        durability = Durability(
            fingerprint=mark,
            keep=run.keep_checkpoints,
            loss_guard=LossGuard(run.spike_multiple, run.spike_steps),
            termination=stack.enter_context(Termination(run.backup.stop_seconds)),
            watchdog=watchdog,
            gate_step=run.gate_step,
            gate_improvement=run.gate_improvement,
            observers=observers,
            on_checkpoint=on_checkpoint,
        )
        try:
            yield Safety(place, folder, resume, durability, log, backup)
        except Stop as stop:
            if log is not None:
                log.write("stop", reason=str(stop))
            if watchdog is not None:
                watchdog.rest()
            if backup is not None:
                backup.drain(run.backup.finish_minutes * 60)
            raise


def machine(place: Place) -> dict[str, Any]:
    """The hardware a run is on; never part of the experiment."""
    gpu = torch.cuda.is_available()
    return {
        "processes": place.processes,
        "device": torch.cuda.get_device_name() if gpu else f"CPU ({platform.machine()})",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
