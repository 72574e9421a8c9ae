"""One training session: the run's folder and lock, where it resumes, its backup, guards and log."""

from __future__ import annotations

import contextlib
import math
import pickle
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerState, TrainingArguments

from socrates.core.errors import TrainingError, WriteError
from socrates.core.files import refused_write
from socrates.model.internals import save_checkpoint
from socrates.runs import checkpoints, signals
from socrates.runs.backup import Store, Uploader, open_store, resume_point
from socrates.runs.callbacks import EvaluationStopped, MainProcess, RunCallback
from socrates.runs.fingerprint import RunConfig, explain_fresh_start, fingerprint, run_directory_lock
from socrates.runs.guards import StopTraining, Termination, Watchdog
from socrates.runs.launch import Process, barrier, broadcast_object
from socrates.runs.log import RunLog
from socrates.runs.params import Run
from socrates.runs.progress import ProgressBar

TRAINER_STATE = "trainer_state.json"


@dataclass
class TrainingSession:
    """A run while it is trained."""

    folder: Path  # of its checkpoints, on a disk that all processes share
    resume: Path | None  # the checkpoint to go on from
    steps: int  # optimiser steps of the whole run
    callback: RunCallback

    @property
    def trained(self) -> bool:
        """Whether the last checkpoint is there, so that nothing is left to train."""
        return self.resume is not None and checkpoints.step_of(self.resume) == self.steps

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last step; the trained weights are taken from it."""
        return self.folder / checkpoints.name(self.steps)

    def prepare(self, args: TrainingArguments) -> None:
        """Complete the arguments of the trainer that will be given to :meth:`train`."""
        args.output_dir = str(self.folder)
        args.eval_on_start = args.eval_on_start and (
            self.resume is None or not_evaluated(self.resume, int(args.eval_steps or 0))
        )

    def train(self, trainer: Trainer) -> None:
        """Train from where the run resumes to the last checkpoint.

        Raises:
            StopTraining: a guard has stopped the run.
            SystemExit: after a notice, with its status, backed up or not.
        """
        process = self.callback.process
        # DeepSpeed's collectives time out after 10 minutes; wait here until every process has loaded the model.
        barrier(process)
        trainer.add_callback(self.callback)
        if self.callback.main:
            check_room(self.folder, trainer.model)
        if trainer.is_deepspeed_enabled:  # accelerate takes DeepSpeed's number anyway, and warns of another
            trainer.accelerator.gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        try:
            with torch.serialization.safe_globals(
                deepspeed_classes() if trainer.is_deepspeed_enabled else []
            ):
                trainer.train(resume_from_checkpoint=None if self.resume is None else str(self.resume))
        except pickle.UnpicklingError:
            raise TrainingError(
                f"{self.resume}: holds more than weights, as code that would be run; whoever wrote it may have meant "
                "harm: find out who can write to the scratch and the backup store, then move it away"
            ) from None
        except (OSError, RuntimeError, SafetensorError, WriteError) as error:
            if not is_failed_write(error):
                raise
            free = shutil.disk_usage(self.folder).free / 2**20
            raise TrainingError(
                f"{self.folder}: a checkpoint could not be written ({free:,.0f} MiB are free); make room, or raise "
                f"ulimit -f, and start again; {checkpoints.newest_in_words(self.folder)}"
            ) from None
        except EvaluationStopped:
            if trainer.model is not None and self.callback.worth_saving(trainer.state):
                save_checkpoint(trainer)
                self.callback.on_save(trainer.args, trainer.state, trainer.control)
        if self.callback.terminated:
            self._leave(signal.Signals(self.callback.terminated))

    def _leave(self, notice: signal.Signals) -> None:
        """End after a notice, when what can be is backed up."""
        try:
            self.finish(self.callback.termination.left)
        except TrainingError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
        if self.callback.main:
            how = f"the same command goes on: {checkpoints.newest_in_words(self.folder)}"
            print(f"stopped by {notice.name}; {how}", file=sys.stderr, flush=True)
        barrier(self.callback.process)  # a launcher kills the main process soon after another has ended
        raise SystemExit(signals.NOTICES[notice])

    def log(self, event: str, **values: Any) -> None:
        """Write a line into the run's log, on the main process."""
        if self.callback.main:
            self.callback.main.log.write(event, **values)

    def finish(self, seconds: float) -> None:
        """Wait for the backup. Raises :class:`TrainingError` with the checkpoints that are not backed up."""
        if main := self.callback.main:
            main.watchdog.stop()
            if main.backup:
                main.backup.drain(seconds)


@contextlib.contextmanager
def training_session(
    stage: str, process: Process, config: RunConfig, run: Run, steps: int, log_path: Path
) -> Iterator[TrainingSession]:
    """Own the run of a fingerprint for the block, and wait for its backup at the end.

    The processes must be initialised. Process 0 holds the lock, fetches from the store and tells the
    others where to resume.

    Args:
        steps: optimiser steps of the whole run.

    Raises:
        TrainingError: another process runs this fingerprint, the scratch cannot be written, the store's
            URL cannot be used, a checkpoint is of another number of processes, or the backup did not end in time.
    """
    with contextlib.ExitStack() as stack:
        mark, main, store = fingerprint(config), None, None
        folder, resume = Path(), None
        if process.is_main:
            if run.backup.url:
                store = open_store(run.backup.url, stage, mark, run.backup.endpoint_url)
            folder = stack.enter_context(run_directory_lock(stage, config))
            resume = open_run_dir(folder, stage, config, process, store)
            start = checkpoints.step_of(resume) or 0 if resume else 0
            log = stack.enter_context(
                contextlib.closing(RunLog(log_path, run.usd_per_hour, mark, start, steps))
            )
            device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
            log.write("machine", processes=process.world_size, device=device)
            main = main_process(stack, run, folder, store, log)
        folder, resume = broadcast_object(process, (folder, resume))
        newest = partial(checkpoints.newest_in_words, folder)
        termination = stack.enter_context(Termination(run.backup.stop_seconds, newest))
        callback = RunCallback(process, run, folder, mark, termination, main)
        session = TrainingSession(folder, resume, steps, callback)
        try:
            yield session
        except StopTraining as stop:
            session.log("stop", reason=str(stop))
            session.finish(run.backup.finish_minutes * 60)
            barrier(process)  # all stop at the same step; a launcher would kill the one that uploads
            raise
        session.finish(run.backup.finish_minutes * 60)
        session.log("end", step=steps)
        barrier(process)


def open_run_dir(
    folder: Path, stage: str, config: RunConfig, process: Process, store: Store | None
) -> Path | None:
    """Delete what a killed process left, and return the checkpoint that the run goes on from, or None."""
    checkpoints.clean_incomplete(folder)
    written = len(checkpoints.list_checkpoints(folder))
    resume = resume_point(folder, fingerprint(config), process.world_size, store)
    checkpoints.clean_incomplete(folder, after=checkpoints.step_of(resume) if resume else 0)
    if resume is not None:
        told: str | None = f"resuming from {resume}"
    elif written:
        told = f"no checkpoint of {written} in {folder} is whole: starting from step 0"
    else:
        told = explain_fresh_start(folder, config)
    if told:
        print(f"{stage}: {told}", flush=True)
    return resume


def main_process(
    stack: contextlib.ExitStack, run: Run, folder: Path, store: Store | None, log: RunLog
) -> MainProcess:
    """Backup, progress bar and watchdog of rank 0, all closed with ``stack``."""
    backup = None
    if store is not None:
        backup = stack.enter_context(contextlib.closing(Uploader(store, folder, run.keep_checkpoints)))

    def on_timeout(reason: str) -> None:
        log.write("stop", reason=reason)
        if backup is not None:
            backup.drain(run.backup.stop_seconds)

    seconds = math.inf if run.stall_minutes is None else run.stall_minutes * 60
    watchdog = Watchdog(seconds, on_timeout, partial(checkpoints.newest_in_words, folder))
    stack.callback(watchdog.stop)
    progress = stack.enter_context(contextlib.closing(ProgressBar(run.log_steps)))
    return MainProcess(log, progress, watchdog, backup)


def log_history(checkpoint: Path) -> list[dict[str, Any]]:
    """What the trainer has logged up to a checkpoint."""
    return TrainerState.load_from_json(str(checkpoint / TRAINER_STATE)).log_history


def deepspeed_classes() -> list[Any]:
    """What DeepSpeed pickles beside tensors. Making one runs no code of the file's choice.

    Python before 3.11.4 pickles a member of an enumeration as ``getattr(ZeroStageEnum, name)``: only that is allowed.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    def member(_: object, name: str) -> ZeroStageEnum:
        return ZeroStageEnum[name]

    return [LossScaler, ZeroStageEnum, fragment_address, (member, "builtins.getattr")]


def check_room(folder: Path, model: torch.nn.Module | None) -> None:
    """Raises :class:`TrainingError` where the disk has no room for what a checkpoint holds at least.

    Those are the trained weights and, of an Adam, two moments of each; DeepSpeed keeps copies beside them.
    """
    parts = [] if model is None else [part for part in model.parameters() if part.requires_grad]
    free, needed = shutil.disk_usage(folder).free, sum(3 * part.nbytes for part in parts)
    if free < needed:
        raise TrainingError(
            f"{folder}: {free / 2**20:,.0f} MiB are free and a checkpoint takes {needed / 2**20:,.0f} MiB or more; "
            "make room, or set SOCRATES_SCRATCH to another disk"
        )


def is_failed_write(error: Exception) -> bool:
    """Whether a file could not be written: torch and safetensors do not say so by their error's type."""
    torchs = "inline_container" in str(error) or "iostream" in str(error)
    return isinstance(error, (SafetensorError, WriteError)) or bool(refused_write(error)) or torchs


def not_evaluated(checkpoint: Path, eval_steps: int) -> bool:
    """Whether a notice has stopped the evaluation that belongs to a checkpoint's step."""
    step = checkpoints.step_of(checkpoint) or 0
    done = any("eval_loss" in entry and entry["step"] == step for entry in log_history(checkpoint))
    return eval_steps > 0 and step % eval_steps == 0 and not done
