"""Processes forked from a server that has torch imported, so that one costs a tenth of a second."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.tiny_trainer", "gsm8k.grpo", "deepspeed", "peft.tuners.lora.bnb"])


def in_process(target: Callable[..., None], *args: Any, **kwargs: Any) -> int:
    """Run in a process of its own; its exit code, negative for a signal."""
    process = processes.Process(target=target, args=args, kwargs=kwargs)
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def compute_in_bfloat16() -> None:
    """Take the way that types take on a GPU, in this process: everything asks ``loading.compute_dtype``."""
    import torch

    for name, module in list(sys.modules.items()):
        if name.startswith(("socrates.", "gsm8k.")) and hasattr(module, "compute_dtype"):
            module.compute_dtype = lambda: torch.bfloat16  # type: ignore[attr-defined]


def stage(
    module: str, folder: Path, kill: str | None = None, *arguments: str, bfloat16: bool = False
) -> None:
    """Run a stage in ``folder`` on one thread, or die at ``kill``; for a process of its own."""
    import torch

    from tests import killing

    os.chdir(folder)
    os.environ.update(SOCRATES_PROCESSES="1", SOCRATES_SCRATCH=str(folder / "scratch"))
    torch.set_num_threads(1)
    if kill:
        killing.arm(kill)
    if bfloat16:
        from socrates.model import loading  # noqa: F401  where it is patched

        compute_in_bfloat16()
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()
