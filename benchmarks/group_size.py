"""What groups of respondents do to learning: validation loss and W at equal steps, by train.group_size.

A group of 1 is a plain shuffle of the rows, what a trainer without sharing does. Everything else is
params.yaml. Each adapter is trained by the train stage in a folder of its own and predicts all
validation rows; the loss is the mean negative log-likelihood of an answer with its end token, in nats,
over the same rows for every group size (the trainer's own figure is over rows that the grouping chose).

Needs data/splits/ and models/base/ (``dvc repro base``).
Command: python -m benchmarks.group_size [--groups 1 2 4 8 16] [--seeds 42] [--steps N] [--batch N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from socrates.core.files import read_table
from socrates.core.params import load, read_yaml
from socrates.evaluation.distance import study_means
from socrates.evaluation.individual import answer_scores, log_likelihood
from socrates.evaluation.metrics import cell_scores
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictions import read_predictions
from socrates.model.params import Model, Prompt
from socrates.prediction.params import Predict
from socrates.prediction.predict import predict_table
from socrates.survey.tables import SCALED_RESPONSES

ROOT = Path(__file__).resolve().parents[1]
VALIDATION, BASE = Path("data/splits/val.parquet"), Path("models/base")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="train.seed")
    parser.add_argument("--steps", type=int, help="optimiser steps; the default is params.yaml's")
    parser.add_argument("--batch", type=int, help="train.global_batch; the default is params.yaml's")
    arguments = parser.parse_args()
    print(
        "| train.group_size | batch | seed | steps | training, s | validation loss, nats an answer | W |",
        flush=True,
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    loss, w = score(None)
    print(f"| base model | | | | | {loss:.4f} | {w:.4f} |", flush=True)
    for seed in arguments.seeds:
        for group in arguments.groups:
            changed = {"group_size": group, "seed": seed}
            changed |= {"max_steps": arguments.steps} if arguments.steps else {}
            changed |= {"global_batch": arguments.batch} if arguments.batch else {}
            with tempfile.TemporaryDirectory() as name:
                seconds, train = fine_tune(Path(name), changed)
                loss, w = score(Path(name) / "models/adapter")
            tried = f"{group} | {train['global_batch']} | {seed} | {train['max_steps']}"
            print(f"| {tried} | {seconds:.0f} | {loss:.4f} | {w:.4f} |", flush=True)


def fine_tune(folder: Path, changed: dict[str, int]) -> tuple[float, dict[str, Any]]:
    """Train an adapter in ``folder`` with changed train params; the seconds it took and the params."""
    raw = read_yaml(Path("params.yaml"))
    raw["train"] |= changed
    raw["train"]["micro_batch"] = max(raw["train"]["micro_batch"], raw["train"]["group_size"])
    raw["train"]["eval_steps"] = raw["run"]["save_steps"] = raw["train"]["max_steps"]
    YAML().dump(raw, folder / "params.yaml")
    (folder / "models").mkdir()
    (folder / "data").symlink_to(Path("data").resolve())
    (folder / "models/base").symlink_to(BASE.resolve())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SOCRATES_SCRATCH": str(folder / "scratch")}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "stages.train"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started, raw["train"]


def score(adapter: Path | None) -> tuple[float, float]:
    """Loss and W (the paper's convention, mean over studies) of an adapter on the validation rows."""
    predictions, _ = predict_table(
        read_table(VALIDATION, SCALED_RESPONSES),
        BASE,
        adapter,
        load(Model),
        load(Prompt),
        load(Predict),
    )
    survey, predictor = read_predictions(predictions, VALIDATION, "adapter")
    assert predictor.allowed_mass is not None
    likelihood = answer_scores(survey, predictor, {"log": log_likelihood})["log"] + np.log(
        predictor.allowed_mass
    )
    distances = cell_scores(predictor.cells(survey), survey, load(Evaluate))["wasserstein"]
    return -float(likelihood.mean()), float(
        np.nanmean(study_means(distances, survey.study, len(survey.studies)))
    )


if __name__ == "__main__":
    main()
