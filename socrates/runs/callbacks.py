"""Manifests, guards, heartbeat and step metrics of a run, through the public events of transformers' Trainer.

The Trainer's arguments must say ``logging_steps=1``. Its events after each optimiser step come in the order
``on_step_end``, ``on_log``, ``on_evaluate``, ``on_save``. Logging sets the Trainer's running sums to zero, so a
checkpoint has no sums to keep. Loss and gradient norm are equal on all processes, so a guard stops all of them at
the same step.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers import TrainerControl as Control
from transformers import TrainerState as State
from transformers import TrainingArguments as Args

from socrates.runs import checkpoints
from socrates.runs.backup import Uploader
from socrates.runs.guards import LossGuard, Termination, Watchdog
from socrates.runs.launch import Process, barrier
from socrates.runs.log import RunLog
from socrates.runs.params import Run
from socrates.runs.progress import ProgressBar


@dataclass
class MainProcess:
    """What rank 0 has and the others have not."""

    log: RunLog
    progress: ProgressBar
    watchdog: Watchdog
    backup: Uploader | None


class EvaluationStopped(Exception):
    """A notice came during an evaluation, which can take longer than there is time."""


@dataclass(eq=False)
class RunCallback(TrainerCallback):
    """Keeps a training alive and watches it."""

    process: Process
    run: Run
    folder: Path  # of the run's checkpoints
    fingerprint: str  # goes into every manifest
    termination: Termination
    main: MainProcess | None
    terminated: int = 0  # number of the signal that ended the training, the same on all processes

    def __post_init__(self) -> None:
        self._guard = LossGuard(self.run.spike_multiple)
        self._tokens = self._memory_bytes = 0
        self._step_ended: float | None = None

    def on_train_begin(self, args: Args, state: State, control: Control, **_: Any) -> None:
        # A restored state brings the intervals of the run that wrote it; today's arguments decide.
        state.compute_steps(args, state.max_steps)
        self._tokens = state.num_input_tokens_seen

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._step_ended = self._step_ended or time.monotonic()

    def on_step_end(self, args: Args, state: State, control: Control, **_: Any) -> None:
        memory = (
            torch.cuda.max_memory_allocated() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        here = [self.termination.requested, memory]
        self.terminated, self._memory_bytes = self._maximum(args.device, here)
        if self.terminated:
            control.should_save = control.should_training_stop = True
        self._heartbeat()

    def on_log(self, args: Args, state: State, control: Control, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:  # an evaluation's, or the summary at the end
            return
        now, counted = time.monotonic(), logs.get("num_tokens", self._tokens)
        seconds, tokens = now - (self._step_ended or now), int(counted - self._tokens)
        self._tokens, self._step_ended = counted, now
        if self.main:
            values = {
                "step": state.global_step,
                "steps": state.max_steps,
                "tokens": tokens,  # of this step over all processes, as TRL counts them
                "seconds": seconds,  # since the last step ended
                "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
                "memory_bytes": self._memory_bytes,
                "backup": self.main.backup.state if self.main.backup else None,
            }
            self.main.progress(self.main.log.write("step", **(logs | values)))
        self._guard(state.global_step, logs["loss"], logs.get("grad_norm"))
        if self._guard.above and not control.should_training_stop:
            control.should_save = False

    def on_evaluate(self, args: Args, state: State, control: Control, metrics: Any = None, **_: Any) -> None:
        if self.main:
            self.main.log.write("evaluate", step=state.global_step, eval_loss=metrics["eval_loss"])

    def on_prediction_step(self, args: Args, state: State, control: Control, **_: Any) -> None:
        self._heartbeat()
        if state.global_step < state.max_steps:  # there the last checkpoint needs the figure
            (self.terminated,) = self._maximum(args.device, [self.termination.requested])
            if self.terminated:
                raise EvaluationStopped

    def worth_saving(self, state: State) -> bool:
        """Whether a run can go on from a step whose evaluation was stopped: it evaluates there first, then trains."""
        manifest = self.folder / checkpoints.name(state.global_step) / checkpoints.MANIFEST
        return state.global_step > 0 and not manifest.exists() and not self._guard.above

    def on_save(self, args: Args, state: State, control: Control, **_: Any) -> None:
        barrier(self.process)  # every process has written its shard
        if self.main:
            folder = self.folder / checkpoints.name(state.global_step)
            checkpoints.write_manifest(folder, self.fingerprint, self.process.world_size)
            checkpoints.rotate(self.folder, self.run.keep_checkpoints)
            if self.main.backup:
                self.main.backup.wake()
            self.main.log.write("checkpoint", path=folder.name)
        barrier(self.process)
        self._heartbeat()

    def _heartbeat(self) -> None:
        if self.main:
            self.main.watchdog.heartbeat()

    def _maximum(self, device: torch.device, values: list[int]) -> list[int]:
        """The largest of each value over all processes."""
        if self.process.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.int64, device=device)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return tensor.tolist()
