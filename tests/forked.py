"""Processes forked from a server that has torch imported, so that one costs a tenth of a second."""

import gc
import importlib
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

processes = multiprocessing.get_context("forkserver")
IMPORTED = """tests.forked tests.tiny_trainer gsm8k.grpo deepspeed peft.tuners.lora.bnb uvicorn socrates.app.server
    socrates.training.finetune socrates.training.dpo socrates.prediction.predict"""
processes.set_forkserver_preload(IMPORTED.split())
# A collection walks the hundreds of thousands of objects that torch's import makes, and frees none of them.
gc.set_threshold(100_000, 50, 100)


def in_process(target: Callable[..., None], *args: Any, **kwargs: Any) -> int:
    """Run in a process of its own; its exit code, negative for a signal."""
    return captured(target, *args, **kwargs).returncode


def captured(
    target: Callable[..., None], *args: Any, ranks: int = 1, **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    """The same, and what it printed; or as several processes, which get and do what torchrun has them get and do."""
    with tempfile.TemporaryDirectory() as name:
        files = Path(name, "out"), Path(name, "err")
        given: list[dict[str, str]] = [{}]
        if ranks > 1:
            with socket.create_server(("127.0.0.1", 0)) as free:
                all_get = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            all_get["WORLD_SIZE"] = str(ranks)
            given = [{**all_get, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
        started = []
        for each in given:
            started.append(
                processes.Process(target=_begin, args=(*files, each, target, *args), kwargs=kwargs)
            )
            started[-1].start()
        while running := [process for process in started if process.is_alive()]:
            hangs = not wait([process.sentinel for process in running], 300)
            if hangs or any(process.exitcode for process in started):
                for process in running:
                    process.kill()
            assert not hangs, "a process hangs"
        told = [file.read_text() for file in files]
    sys.stdout.write(told[0])
    sys.stderr.write(told[1])
    status = next((process.exitcode for process in started if process.exitcode), 0)
    return subprocess.CompletedProcess([target], status, *told)


def _begin(
    out: Path, err: Path, variables: dict[str, str], target: Callable[..., None], *args: Any, **kwargs: Any
) -> None:
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.update(variables)
    gc.freeze()  # nothing of what is imported is garbage
    target(*args, **kwargs)


@contextmanager
def served(folder: Path, module: str, *arguments: str) -> Iterator[tuple[BaseProcess, Path]]:
    """``python -m module arguments`` in ``folder`` once it has printed a line, and the file with what it prints."""
    told = folder / "told"
    process = processes.Process(target=_begin, args=(told, told, {}, run_module, folder, module, *arguments))
    process.start()
    try:
        while not (told.exists() and "\n" in told.read_text()):
            assert process.is_alive(), told.read_text()
            time.sleep(0.02)
        yield process, told
    finally:
        process.kill()
        process.join()


def run_module(folder: Path, module: str, *arguments: str) -> None:
    """``python -m module arguments`` in ``folder``; for a process of its own."""
    os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_code(folder: Path, code: str) -> None:
    """``python -c code`` in ``folder``; for a process of its own."""
    os.chdir(folder)
    exec(code, {"__name__": "__main__"})


def compute_in_bfloat16() -> None:
    """Take the way that types take on a GPU, in this process: everything asks ``loading.compute_dtype``."""
    import torch

    for name, module in list(sys.modules.items()):
        if name.startswith(("socrates.", "gsm8k.")) and hasattr(module, "compute_dtype"):
            module.compute_dtype = lambda: torch.bfloat16  # type: ignore[attr-defined]


def stage(
    module: str, folder: Path, kill: str | None = None, *arguments: str, bfloat16: bool = False
) -> None:
    """Run a stage in ``folder`` on one thread, the first of its processes until ``kill``; for a process of its own."""
    import torch

    from socrates.core import errors
    from tests import killing

    os.chdir(folder)
    os.environ.update(SOCRATES_PROCESSES="1", SOCRATES_SCRATCH=str(folder / "scratch"))
    torch.set_num_threads(1)
    if kill and os.environ.get("RANK", "0") == "0":
        killing.arm(kill)
    if bfloat16:
        from socrates.model import loading  # noqa: F401  where it is patched

        compute_in_bfloat16()
    sys.argv = [module, *arguments]
    errors.run(importlib.import_module(module).main)
