"""Processes forked from a server that has torch imported, so that one costs a tenth of a second."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.tiny_trainer", "gsm8k.train", "deepspeed", "peft.tuners.lora.bnb"])


def in_process(target: Callable[..., None], *args: Any, **kwargs: Any) -> int:
    """Run in a process of its own; its exit code, negative for a signal."""
    process = processes.Process(target=target, args=args, kwargs=kwargs)
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def stage(module: str, folder: Path, kill: str | None = None) -> None:
    """Run a stage in ``folder`` on one thread, or die at ``kill``; for a process of its own."""
    import torch

    from tests import killing

    os.chdir(folder)
    os.environ.update(SOCRATES_PROCESSES="1", SOCRATES_SCRATCH=str(folder / "scratch"))
    torch.set_num_threads(1)
    if kill:
        killing.arm(kill)
    importlib.import_module(module).main()
