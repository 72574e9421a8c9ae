"""Stages run in processes of their own, as DVC runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import tiny


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with ``arguments`` in ``folder``, whose scratch folder is in it; one thread, one process."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(tiny.ROOT),
            "OMP_NUM_THREADS": "1",
            "SOCRATES_PROCESSES": "1",
            "SOCRATES_SCRATCH": str(folder / "scratch"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
