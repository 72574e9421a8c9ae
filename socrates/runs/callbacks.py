"""What a Hugging Face Trainer needs to lose nothing: ``class Trainer(Durable, SFTTrainer)``.

Four things are added to any Trainer:

* checkpoints are written aside, sealed and renamed (:mod:`socrates.runs.checkpoints`), and kept or
  deleted by our own count; ``save_total_limit`` stays None;
* what the Trainer forgets at a resume is kept: the losses summed since the last log line, and TRL's
  running metrics and token count. Without them the logged curve of a resumed run differs, though its
  weights do not. The Trainer itself restores weights, optimiser, scheduler, random states and the place
  in the data;
* every optimiser step is measured over all processes and shown to observers: guards, run log, progress;
* SIGTERM and guards end the run at the same step on every process, with or without a checkpoint.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from socrates.core.errors import TrainingError
from socrates.runs import checkpoints
from socrates.runs.guards import LossGuard, Step, Stop, Termination, Watchdog, check_gate

if TYPE_CHECKING:
    from transformers import Trainer as Base
else:
    Base = object  # a mixin: the real base comes from the class that uses it

ACCUMULATORS = "accumulators_{rank}.json"


@dataclass
class Durability:
    """How a run is kept safe; none of it changes the result.

    Attributes:
        fingerprint: of the run; goes into every manifest.
        keep: checkpoints kept.
        loss_guard: None for none.
        termination, watchdog: entered by the caller, around the training; the watchdog on process 0 only.
        gate_step, gate_improvement: see :func:`socrates.runs.guards.check_gate`.
        observers: called with each :class:`Step`, on process 0 only.
        on_checkpoint: called with each finished checkpoint, on process 0 only (hand it to the backup).
    """

    fingerprint: str
    keep: int
    loss_guard: LossGuard | None = None
    termination: Termination | None = None
    watchdog: Watchdog | None = None
    gate_step: int | None = None
    gate_improvement: float = 0.0
    observers: Sequence[Callable[[Step], object]] = ()
    on_checkpoint: Sequence[Callable[[Path], object]] = field(default_factory=list)


class Durable(Base):
    """Mixin for a ``transformers.Trainer``; set :attr:`durability` before ``train()``.

    ``output_dir`` is the folder that holds the checkpoints, on a disk that all processes share. After
    ``train()`` returned, :attr:`terminated` says whether SIGTERM ended it.
    """

    durability: Durability
    terminated = False
    _staging = False
    _measured = -1  # the last step shown to observers
    _resumed_from: str | None = None
    _step_loss: torch.Tensor | None = None
    _step_tokens = 0
    _step_ended = 0.0

    # Checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return str(Path(folder) / checkpoints.STAGING) if self._staging else folder

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        root = Path(super()._get_output_dir(trial))
        staged = root / checkpoints.STAGING / checkpoints.name(self.state.global_step)
        if self.args.process_index == 0:
            shutil.rmtree(root / checkpoints.STAGING, ignore_errors=True)
            staged.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self._staging = True
        try:
            super()._save_checkpoint(model, trial)
            self._save_accumulators(staged)
        finally:
            self._staging = False
        self.accelerator.wait_for_everyone()  # every process has written its shard
        if self.args.process_index == 0:
            checkpoints.seal(staged, fingerprint=self.durability.fingerprint, processes=self.args.world_size)
            final = checkpoints.commit(staged, root)
            checkpoints.rotate(root, self.durability.keep)
            for tell in self.durability.on_checkpoint:
                tell(final)
        self.accelerator.wait_for_everyone()
        self._beat()

    def _save_accumulators(self, folder: Path) -> None:
        """What has been summed since the last log line; each process has its own sums."""
        metrics = getattr(self, "_metrics", None)
        state = {
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "initial_step": self._initial_global_step,  # so that train_loss is the mean of the whole run
            "last_logged": self._globalstep_last_logged,
            "metrics": {key: list(value) for key, value in metrics["train"].items()} if metrics else {},
            "train_tokens": getattr(self, "_total_train_tokens", 0),
        }
        path = folder / ACCUMULATORS.format(rank=self.args.process_index)
        path.write_text(json.dumps(state), encoding="utf-8")

    def _load_accumulators(self, folder: Path) -> None:
        path = folder / ACCUMULATORS.format(rank=self.args.process_index)
        if not path.exists():
            raise TrainingError(f"{path}: missing; the checkpoint is not one of this trainer")
        state = json.loads(path.read_text(encoding="utf-8"))
        self._tr_loss = torch.tensor(state["loss"], device=self.args.device)
        self._total_loss_scalar = state["total_loss"]
        self._initial_global_step = state["initial_step"]
        self._globalstep_last_logged = state["last_logged"]
        if hasattr(self, "_metrics"):
            for key, value in state["metrics"].items():
                self._metrics["train"][key] = value
            self._total_train_tokens = state["train_tokens"]

    # Resuming

    def _init_training_state(
        self,
        max_steps: int,
        steps_per_epoch: int,
        epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        self._resumed_from = resume_from_checkpoint
        place = super()._init_training_state(
            max_steps, steps_per_epoch, epochs, resume_from_checkpoint, trial
        )
        # The stored state brings the intervals of the run that wrote it; today's params decide.
        self.state.compute_steps(self.args, max_steps)
        return place

    def _run_epoch(self, **kwargs: Any) -> None:  # type: ignore[override]
        self._resume()
        if self.state.global_step >= self.state.max_steps:
            # Resumed from the last checkpoint. The Trainer looks at the limit only after a step, and would
            # take one too many where the limit lies inside an epoch.
            self.control.should_training_stop = True
            return
        self._step_ended = time.monotonic()
        super()._run_epoch(**kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        self._resume()  # no epoch is run after a resume from the end of the last one
        return super()._finalize_training(*args, **kwargs)

    def _resume(self) -> None:
        """Once, after the Trainer has set its own sums to zero."""
        if self._resumed_from is not None:
            self._load_accumulators(Path(self._resumed_from))
            self._resumed_from = None
            self._measured = self.state.global_step
            self._gate()

    # Steps

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._step_loss = loss.detach() if self._step_loss is None else self._step_loss + loss.detach()
        self._step_tokens += self._tokens_in(inputs)
        return loss

    def _tokens_in(self, inputs: Any) -> int:
        """Input tokens of one forward pass, padding included."""
        tokens = inputs.get("input_ids")
        return 0 if tokens is None else int(tokens.numel())

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, model: Any, trial: Any, *args: Any, **kwargs: Any
    ) -> None:
        if self.state.global_step > self._measured and self._step_loss is not None:
            step, stop = self._measure(grad_norm, kwargs.get("learning_rate"))
            if self.args.process_index == 0:
                for observe in self.durability.observers:
                    observe(step)
            guard = self.durability.loss_guard
            if guard is not None:
                guard(step)
                if guard.suspicious:
                    self.control.should_save = False
            if stop:
                self.terminated = True
                self.control.should_save = self.control.should_training_stop = True
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)

    def _measure(self, grad_norm: Any, learning_rate: float | None) -> tuple[Step, bool]:
        """The step over all processes, and whether SIGTERM has reached any of them."""
        assert self._step_loss is not None
        termination = self.durability.termination
        stop = termination is not None and termination.requested
        mine = torch.tensor(
            [float(self._step_loss), self._step_tokens, float(stop), _memory_bytes()],
            dtype=torch.float64,
            device="cpu" if self.args.device.type in ("cpu", "mps") else self.args.device,
        )
        everyone = self.accelerator.gather(mine).reshape(-1, 4).cpu()
        now = time.monotonic()
        step = Step(
            step=self.state.global_step,
            steps=self.state.max_steps,
            epoch=float(self.state.epoch or 0.0),
            loss=float(everyone[:, 0].mean()),
            grad_norm=None if grad_norm is None else float(grad_norm),
            learning_rate=float(learning_rate if learning_rate is not None else self._get_learning_rate()),
            tokens=int(everyone[:, 1].sum()),
            seconds=now - self._step_ended,
            memory_bytes=int(everyone[:, 3].max()),
        )
        self._step_loss, self._step_tokens = None, 0
        self._measured, self._step_ended = self.state.global_step, now
        self._beat()
        return step, bool(everyone[:, 2].any())

    def _evaluate(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = super()._evaluate(trial, *args, **kwargs)
        try:
            self._gate()
        except Stop:
            if self.state.global_step > 0:
                self._save_checkpoint(self.model, trial)
            raise
        return metrics

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        self._beat()
        return super().prediction_step(*args, **kwargs)

    def _beat(self) -> None:
        if self.durability.watchdog is not None:
            self.durability.watchdog.beat()

    def _gate(self) -> None:
        check_gate(self.state.log_history, self.durability.gate_step, self.durability.gate_improvement)


def _memory_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
