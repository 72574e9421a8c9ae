"""Runs of the train stage on a two-layer model, each in a folder of its own on the same inputs."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ruamel.yaml import YAML

from socrates.core.params import read_yaml
from tests import forked, tiny
from tests.small_models import write_inputs

STEPS = 8


def prepare(folder: Path) -> None:
    """What the stages before train leave."""
    raw = read_yaml(tiny.ROOT / "params.yaml")
    raw["model"]["tiny"] |= tiny.TINY.model_dump()
    raw["lora"] |= {"r": 4, "dropout": 0.05}
    raw["train"] |= {"global_batch": 8, "micro_batch": 4, "group_size": 4}
    raw["train"] |= {"max_steps": STEPS, "eval_steps": 4, "eval_rows": 8}
    raw["run"] |= {"log_steps": 1, "save_steps": 3}
    write_inputs(folder, raw, (6, 8))


def copy(ready: Path, folder: Path, **sections: dict[str, Any]) -> Path:
    """A run folder of its own on the inputs of ``ready``, with some params changed."""
    folder.mkdir()
    (folder / "data").symlink_to(ready / "data")
    (folder / "models").mkdir()
    (folder / "models/base").symlink_to(ready / "models/base")
    (folder / "params.yaml").write_bytes((ready / "params.yaml").read_bytes())
    return changed(folder, **sections)


def changed(folder: Path, **sections: dict[str, Any]) -> Path:
    """The folder, with some params changed."""
    raw = read_yaml(folder / "params.yaml")
    for name, values in sections.items():
        raw[name] |= values
    YAML().dump(raw, folder / "params.yaml")
    return folder


def run(folder: Path, kill: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """The stage in a process that need not import torch."""
    return forked.captured(forked.stage, "stages.train", folder, kill, **options)


def train(folder: Path, kill: str | None = None, **options: Any) -> int:
    """Its exit code."""
    return run(folder, kill, **options).returncode


def adapter(folder: Path) -> bytes:
    """The trained weights."""
    return (folder / "models/adapter/adapter_model.safetensors").read_bytes()


def losses(folder: Path) -> np.ndarray:
    """Of each step."""
    return pl.read_csv(folder / "metrics/train.csv")["loss"].drop_nulls().to_numpy()
