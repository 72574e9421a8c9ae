"""The same training on one, two and four CPU processes: do the loss curve and the adapter stay?

    python -m benchmarks.processes

The real train stage, NF4 under DeepSpeed ZeRO-2 over gloo, on the two-layer model of the tests, without
dropout (each process draws its own). Prints a Markdown table of the differences from one process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from socrates.core.params import read_yaml
from tests import tiny
from tests.small_models import write_models


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready"
        ready.mkdir()
        write_models(ready)
        shutil.rmtree(ready / "models/adapter")
        raw = read_yaml(ready / "params.yaml")
        raw["lora"] |= {"r": 4, "dropout": 0.0}
        raw["train"] |= {
            "global_batch": 16,
            "micro_batch": 4,
            "group_size": 1,
            "max_steps": arguments.steps,
            "eval_steps": arguments.steps,
            "eval_rows": 8,
        }
        raw["run"] |= {"log_steps": 1, "save_steps": arguments.steps}
        YAML().dump(raw, ready / "params.yaml")
        for count in arguments.processes:
            results[count] = _train(ready, Path(folder) / str(count), count)
    losses, adapter = results[arguments.processes[0]]
    print(
        "| processes | loss, first and last step | largest relative difference of a loss | "
        "of a weight, absolute |\n|---|---|---|---|"
    )
    for count, (own, weights) in results.items():
        of_loss = float(np.max(np.abs(own - losses) / losses))
        of_weight = max(float(np.abs(weights[name] - adapter[name]).max()) for name in adapter)
        print(f"| {count} | {own[0]:.5f}, {own[-1]:.5f} | {of_loss:.1e} | {of_weight:.1e} |")


def _train(ready: Path, folder: Path, processes: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Loss of each step, and the adapter's weights."""
    shutil.copytree(ready, folder)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tiny.ROOT),
        "OMP_NUM_THREADS": "1",
        "SOCRATES_PROCESSES": str(processes),
        "SOCRATES_SCRATCH": str(folder / "scratch"),
    }
    command = [sys.executable, "-m", "stages.train"]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{processes} processes: {ended.stderr[-2000:]}")
    losses = pl.read_csv(folder / "metrics/train.csv")["loss"].drop_nulls().to_numpy()
    return losses, load_file(folder / "models/adapter/adapter_model.safetensors")


if __name__ == "__main__":
    main()
