"""The folders of a tiny base model and its adapter, as the pipeline leaves them, for tests that ask it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file

from socrates.core.files import sha256, write_json
from socrates.model.loading import file_hashes
from tests import tiny

RANK, ALPHA = 2, 8
PERSONAS = ["Age: 30; Gender: Female", "Age: 61", "unknown"]


def make(folder: Path) -> None:
    """``models/base``, ``models/adapter`` and ``data/splits/train.parquet`` in ``folder``."""
    base, adapter = folder / "models/base", folder / "models/adapter"
    model = tiny.model()
    model.save_pretrained(base)
    tiny.tokenizer().save_pretrained(base)
    write_json(base / "manifest.json", {"kind": "builtin", "files": file_hashes(base)})
    adapter.mkdir(parents=True)
    generator = torch.Generator().manual_seed(11)
    weights = {}
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj", "down_proj")):
            for side, shape in {"A": (RANK, module.in_features), "B": (module.out_features, RANK)}.items():
                key = f"base_model.model.{name}.lora_{side}.weight"
                weights[key] = 0.3 * torch.randn(shape, generator=generator)
    save_file(weights, adapter / "adapter_model.safetensors")
    write_json(
        adapter / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": RANK,
            "lora_alpha": ALPHA,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "bias": "none",
            "inference_mode": True,
        },
    )
    prompt = {"layout": "scenario_first", "max_length": 512}
    write_json(
        adapter / "training.json", {"base": sha256(base / "manifest.json"), "params": {"prompt": prompt}}
    )
    table = folder / "data/splits/train.parquet"
    table.parent.mkdir(parents=True)
    tiny.rows(12).write_parquet(table)


def questions() -> pl.DataFrame:
    """Every persona asked every scenario of the tiny survey."""
    scales = {1: "1..7", 2: "0..100", 3: "1,2"}
    rows = [(who, text, scales[task]) for who in PERSONAS for task, text in tiny.SCENARIOS.items()]
    return pl.DataFrame(rows, schema=["persona", "stimuli", "scale"], orient="row")


def cli(*arguments: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of ``python -m socrates`` run in ``folder``."""
    return [sys.executable, "-m", "socrates", *arguments], {
        "PYTHONPATH": str(tiny.ROOT),
        "OMP_NUM_THREADS": "1",
        "PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin",
        "SOCRATES_SCRATCH": str(folder / ".scratch"),
        "COLUMNS": "200",
    }


def read_json(path: Path) -> dict:
    """A JSON file."""
    return json.loads(path.read_text())
