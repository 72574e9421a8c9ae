"""SIGKILL at an exact moment of a training, for tests that a run survives it.

In a process of one's own, ``arm("7:hashed")`` before training. For a module run as a program, alone or
under a launcher: ``python tests/killing.py 7:hashed stages.train``.
"""

import gc
import itertools
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

# Where a run can die, in the order in which one step passes them.
MOMENTS = (
    "training",  # the step is done, nothing of it is written
    "writing",  # weights, optimiser and random states are written, the trainer's state is not
    "written",  # every file is written, none is hashed
    "hashed",  # every file is hashed and flushed, the manifest is not written
    "committed",  # the checkpoint is complete, the oldest is not deleted yet
    "deleting",  # the oldest is being deleted
)


def arm(place: str) -> None:
    """Make this process kill itself at ``<step>:<moment>``.

    At ``<step>:notice`` it gets SIGTERM instead, or the first process that ``SOCRATES_TEST_STARTER`` started gets
    ``SOCRATES_TEST_SIGNAL``.
    """
    from transformers import TrainerState

    from socrates.runs import checkpoints
    from socrates.runs.session import TrainingSession

    step_text, moment = place.split(":")
    step = int(step_text)

    def die(now: int | None) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def newest(root: Path, *_: Any) -> int | None:
        complete = checkpoints.list_checkpoints(root)
        return checkpoints.step_of(complete[-1]) if complete else None

    def notify(callback: Any, args: Any, state: Any, *_: Any) -> None:
        if state.global_step == step:
            starter = int(os.environ.get("SOCRATES_TEST_STARTER", os.getppid()))
            line = [psutil.Process(), *psutil.Process().parents()]
            *_, first = itertools.takewhile(lambda process: process.pid != starter, line)
            first.send_signal(int(os.environ.get("SOCRATES_TEST_SIGNAL", signal.SIGTERM)))
            deadline = time.monotonic() + 60
            while not callback.termination.requested and time.monotonic() < deadline:
                time.sleep(0.05)

    def half(path: Any, *args: Any, **kwargs: Any) -> None:
        folder = Path(path)
        if checkpoints.step_of(folder) is not None:
            min(path for path in folder.iterdir() if path.is_file()).unlink()
            die(newest(folder.parent))
        rmtree(path, *args, **kwargs)

    rmtree = checkpoints.shutil.rmtree
    points: dict[str, tuple[Any, str, Callable[..., int | None]]] = {
        "notice": (TrainingSession, "on_step_end", notify),
        "training": (TrainingSession, "on_step_end", lambda callback, args, state, *_: state.global_step),
        "writing": (TrainerState, "save_to_json", lambda state, *_: state.global_step),
        "written": (checkpoints, "write_manifest", lambda folder, *_: checkpoints.step_of(folder)),
        "hashed": (checkpoints, "complete", lambda folder, *_: checkpoints.step_of(folder)),
        "committed": (checkpoints, "rotate", newest),
    }
    if moment == "deleting":
        checkpoints.shutil.rmtree = half  # type: ignore[assignment]
    else:
        owner, name, step_now = points[moment]
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            die(step_now(*args))
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)


if __name__ == "__main__":
    gc.set_threshold(100_000, 50, 100)  # as in tests/forked.py
    sys.path.insert(0, str(Path.cwd()))
    if sys.argv[1]:
        arm(sys.argv[1])
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
