"""One training session: the run's folder and lock, where it resumes, and what keeps it alive and watches it.

The Trainer's events after each optimiser step come in the order ``on_step_end``, ``on_log``, ``on_evaluate``,
``on_save``. Its arguments must say ``logging_steps=1``: logging sets its running sums to zero, so that a checkpoint has
none to keep.
"""

import contextlib
import os
import pickle
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback
from transformers import TrainerControl as Control
from transformers import TrainerState as State
from transformers import TrainingArguments as Args

from socrates.core.errors import TrainingError, WriteError
from socrates.core.files import refused_write
from socrates.model.internals import save_checkpoint
from socrates.runs import checkpoints, signals
from socrates.runs.backup import Store, Uploader, open_store, resume_point
from socrates.runs.fingerprint import RunConfig, explain_fresh_start, fingerprint, run_directory_lock
from socrates.runs.guards import LossGuard, StopTraining, Termination, Watchdog
from socrates.runs.launch import Process, barrier, broadcast_object
from socrates.runs.log import ProgressBar, RunLog
from socrates.runs.params import Run

TRAINER_STATE = "trainer_state.json"


class EvaluationStopped(Exception):
    """A notice came during an evaluation, which can take longer than there is time."""


@dataclass(eq=False)
class TrainingSession(TrainerCallback):
    """A run while it is trained, and the Trainer's callback that keeps it alive and watches it."""

    process: Process
    run: Run
    folder: Path  # of its checkpoints, named by the fingerprint, on a disk that all processes share
    resume: Path | None  # the checkpoint to go on from
    steps: int  # optimiser steps of the whole run
    log: RunLog
    termination: Termination
    backup: Uploader | None  # of the main process

    def __post_init__(self) -> None:
        self._guard = LossGuard(self.run.spike_multiple)
        self._progress = ProgressBar(self.run.log_steps)
        patience = self.run.stall_minutes if self.process.is_main else None
        self._watchdog = Watchdog(patience, self._stalled, self.folder)
        self._notice = self._tokens = self._memory_bytes = 0  # a signal's number, the same on all processes
        self._step_ended: float | None = None

    @property
    def trained(self) -> bool:
        """Whether the last checkpoint is there, so that nothing is left to train."""
        return self.resume == self.last_checkpoint

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last step; the trained weights are taken from it."""
        return self.folder / checkpoints.name(self.steps)

    def prepare(self, args: Args) -> None:
        """Complete the arguments of the trainer that will be given to :meth:`train`."""
        args.output_dir = str(self.folder)
        # A resume begins with an evaluation only where a notice has stopped that of its step.
        if args.eval_on_start and self.resume:
            step, every = checkpoints.step_of(self.resume) or 0, int(args.eval_steps or 0)
            done = any("eval_loss" in entry and entry["step"] == step for entry in log_history(self.resume))
            args.eval_on_start = every > 0 and step % every == 0 and not done

    def train(self, trainer: Trainer) -> None:
        """Train from where the run resumes to the last checkpoint, or exit after a notice, backed up or not."""
        # DeepSpeed's collectives time out after 10 minutes; wait here until every process has loaded the model.
        barrier(self.process)
        trainer.add_callback(self)
        if self.process.is_main:
            check_room(self.folder, trainer.model)
        if trainer.is_deepspeed_enabled:  # accelerate takes DeepSpeed's number anyway, and warns of another
            trainer.accelerator.gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        try:
            allowed = deepspeed_classes() if trainer.is_deepspeed_enabled else []
            with torch.serialization.safe_globals(allowed):
                trainer.train(resume_from_checkpoint=None if self.resume is None else str(self.resume))
        except pickle.UnpicklingError:
            told = "holds more than weights, as code that would be run; whoever wrote it may have meant harm"
            mend = "find out who can write to the scratch and the backup store, then move it away"
            raise TrainingError(f"{self.resume}: {told}: {mend}") from None
        except (OSError, RuntimeError, SafetensorError, WriteError) as error:
            # torch does not say by its error's type that a file could not be written
            torchs = "inline_container" in str(error) or "iostream" in str(error)
            if not (torchs or isinstance(error, (SafetensorError, WriteError)) or refused_write(error)):
                raise
            free = shutil.disk_usage(self.folder).free / 2**20
            told = f"{self.folder}: a checkpoint could not be written ({free:,.0f} MiB are free)"
            told += "; make room, or raise ulimit -f, and start again"
            raise TrainingError(f"{told}; {checkpoints.newest_in_words(self.folder)}") from None
        except EvaluationStopped:  # a run can go on from here: it evaluates first, then trains
            folder = self.folder / checkpoints.name(trainer.state.global_step)
            whole = (folder / checkpoints.MANIFEST).exists()
            if trainer.state.global_step > 0 and not whole and not self._guard.above:
                save_checkpoint(trainer)
                self.on_save(trainer.args, trainer.state, trainer.control)
        if self._notice:
            self._leave(signal.Signals(self._notice))

    def _leave(self, notice: signal.Signals) -> None:
        """End after a notice, when what can be is backed up."""
        try:
            self.finish(self.termination.left)
        except TrainingError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
        if self.process.is_main:
            how = f"the same command goes on: {checkpoints.newest_in_words(self.folder)}"
            print(f"stopped by {notice.name}; {how}", file=sys.stderr, flush=True)
        barrier(self.process)  # a launcher kills the main process soon after another has ended
        raise SystemExit(signals.NOTICES[notice])

    def finish(self, seconds: float) -> None:
        """Wait for the backup. Raises :class:`TrainingError` with the checkpoints that are not backed up."""
        self._watchdog.stop()  # what follows has a limit of its own
        if self.backup:
            self.backup.drain(seconds)

    def _stalled(self, reason: str) -> None:
        self.log("stop", reason=reason)
        self.finish(self.run.backup.stop_seconds)

    def close(self) -> None:
        self._watchdog.stop()
        self._progress.close()
        if self.backup:
            self.backup.close()

    def on_train_begin(self, args: Args, state: State, control: Control, **_: Any) -> None:
        # A restored state brings the intervals of the run that wrote it; today's arguments decide.
        state.compute_steps(args, state.max_steps)
        self._tokens = state.num_input_tokens_seen

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._step_ended = self._step_ended or time.monotonic()

    def on_step_end(self, args: Args, state: State, control: Control, **_: Any) -> None:
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        here = [self.termination.requested, torch.cuda.max_memory_allocated() or resident]
        self._notice, self._memory_bytes = self._maximum(args.device, here)
        if self._notice:
            control.should_save = control.should_training_stop = True
        self._watchdog.heartbeat()

    def on_log(self, args: Args, state: State, control: Control, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:  # an evaluation's, or the summary at the end
            return
        now, counted = time.monotonic(), logs.get("num_tokens", self._tokens)
        seconds, tokens = now - (self._step_ended or now), int(counted - self._tokens)
        self._tokens, self._step_ended = counted, now
        values = {
            "step": state.global_step,
            "steps": state.max_steps,
            "tokens": tokens,  # of this step over all processes, as TRL counts them
            "seconds": seconds,  # since the last step ended
            "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
            "memory_bytes": self._memory_bytes,
            "backup": self.backup and self.backup.state,
        }
        line = self.log("step", **(logs | values))
        if self.process.is_main:
            self._progress(line)
        self._guard(state.global_step, logs["loss"], logs.get("grad_norm"))
        if self._guard.above and not control.should_training_stop:
            control.should_save = False

    def on_evaluate(self, args: Args, state: State, control: Control, metrics: Any = None, **_: Any) -> None:
        self.log("evaluate", step=state.global_step, eval_loss=metrics["eval_loss"])

    def on_prediction_step(self, args: Args, state: State, control: Control, **_: Any) -> None:
        self._watchdog.heartbeat()
        if state.global_step < state.max_steps:  # there the last checkpoint needs the figure
            (self._notice,) = self._maximum(args.device, [self.termination.requested])
            if self._notice:
                raise EvaluationStopped

    def on_save(self, args: Args, state: State, control: Control, **_: Any) -> None:
        barrier(self.process)  # every process has written its shard
        if self.process.is_main:
            folder = self.folder / checkpoints.name(state.global_step)
            checkpoints.write_manifest(folder, self.folder.name, self.process.world_size)
            checkpoints.rotate(self.folder, self.run.keep_checkpoints)
            if self.backup:
                self.backup.wake()
            self.log("checkpoint", path=folder.name)
        barrier(self.process)
        self._watchdog.heartbeat()

    def _maximum(self, device: torch.device, values: list[int]) -> list[int]:
        """The largest of each value over all processes."""
        if self.process.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.int64, device=device)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return tensor.tolist()


@contextlib.contextmanager
def training_session(
    stage: str, process: Process, config: RunConfig, run: Run, steps: int, log_path: Path
) -> Iterator[TrainingSession]:
    """Own the run of a fingerprint for the block, and wait for its backup at the end.

    The processes must be initialised. Process 0 holds the lock, fetches from the store and tells the others where to
    resume. ``steps`` are the optimiser steps of the whole run.
    """
    with contextlib.ExitStack() as stack:
        folder, resume, store = Path(), None, None
        if process.is_main:
            if run.backup.url:
                store = open_store(run.backup.url, stage, fingerprint(config), run.backup.endpoint_url)
            folder = stack.enter_context(run_directory_lock(stage, config))
            resume = open_run_dir(folder, config, process, store)
        folder, resume = broadcast_object(process, (folder, resume))
        start = checkpoints.step_of(resume) if resume else None
        path = log_path if process.is_main else Path(os.devnull)
        log = RunLog(path, run.usd_per_hour, folder.name, start or 0, steps)
        stack.callback(log.close)
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        log("machine", processes=process.world_size, device=device)
        backup = Uploader(store, folder, run.keep_checkpoints) if store else None
        termination = stack.enter_context(Termination(run.backup.stop_seconds, folder))
        session = TrainingSession(process, run, folder, resume, steps, log, termination, backup)
        stack.callback(session.close)
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


def open_run_dir(folder: Path, config: RunConfig, process: Process, store: Store | None) -> Path | None:
    """Delete what a killed process left, and return the checkpoint that the run goes on from, or None."""
    checkpoints.clean_incomplete(folder)
    written = len(checkpoints.list_checkpoints(folder))
    resume = resume_point(folder, folder.name, process.world_size, store)
    checkpoints.clean_incomplete(folder, after=checkpoints.step_of(resume) if resume else 0)
    told = explain_fresh_start(folder, config)
    if resume is not None:
        told = f"resuming from {resume}"
    elif written:
        told = f"no checkpoint of {written} in {folder} is whole: starting from step 0"
    if told:
        print(f"{folder.parent.name}: {told}", flush=True)
    return resume


def log_history(checkpoint: Path) -> list[dict[str, Any]]:
    """What the trainer has logged up to a checkpoint."""
    return State.load_from_json(str(checkpoint / TRAINER_STATE)).log_history


def deepspeed_classes() -> list[Any]:
    """What DeepSpeed pickles beside tensors. Making one runs no code of the file's choice."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    # Python before 3.11.4 pickles a member of an enumeration as getattr(ZeroStageEnum, name): only that is allowed.
    member = (lambda _, name: ZeroStageEnum[name], "builtins.getattr")
    return [LossScaler, ZeroStageEnum, fragment_address, member]


def check_room(folder: Path, model: torch.nn.Module | None) -> None:
    """Refuse a disk without room for what a checkpoint holds at least: trained weights, and two moments of each."""
    parts = [] if model is None else [part for part in model.parameters() if part.requires_grad]
    free, needed = shutil.disk_usage(folder).free, sum(3 * part.nbytes for part in parts)
    if free < needed:
        told = f"{free / 2**20:,.0f} MiB are free and a checkpoint takes {needed / 2**20:,.0f} MiB or more"
        raise TrainingError(f"{folder}: {told}; make room, or set SOCRATES_SCRATCH to another disk")
