"""Which folders of predictions the stage compares, and which baseline is the opponent."""

import json
import os
import subprocess
import sys

import pytest

from stages.evaluate import best_baseline, old_baselines


@pytest.fixture
def paths(tmp_path):
    """Predictors' tables, whose manifests have a validation score if they are baselines."""
    scores = {"adapter": None, "words": 0.1, "nearest": 0.2, "other_tasks": 0.3}
    for name, score in scores.items():
        (tmp_path / name).mkdir()
        told = {} if score is None else {"validation_rps": score}
        (tmp_path / name / "manifest.json").write_text(json.dumps(told))
    return {name: tmp_path / name / "predictions.parquet" for name in scores}


def test_old_baselines_are_left_out_and_the_opponent_is_the_best_on_validation_or_whoever_copies(paths):
    assert old_baselines(paths, ["words", "other_tasks"]) == ["nearest"]
    assert best_baseline(paths) == "other_tasks"
    del paths["other_tasks"]
    assert best_baseline(paths) == "words"
    assert best_baseline({"adapter": paths["adapter"]}) is None


SCORED = """
import sys
import numpy as np
from socrates.evaluation import individual, intervals
rng = np.random.default_rng(0)
p, positions = rng.dirichlet(np.ones(7), 500).astype(np.float32), np.linspace(0, 1, 7, dtype=np.float32)
answers = rng.integers(7, size=500)
gain = individual.Gain(individual.gain_over_mean, individual.crps)
for metric in (individual.PARTS["mean"], individual.accuracy, individual.crps, gain):
    sys.stdout.write(metric(p, answers, positions).tobytes().hex())
print(intervals.sign_flip_interval(rng.normal(size=19), 999, rng))
"""


def test_the_kernels_of_another_cpu_give_the_same_bits():
    told = [
        subprocess.run(
            [sys.executable, "-c", SCORED], check=True, stdout=subprocess.PIPE, env=os.environ | kernels
        ).stdout
        for kernels in ({}, {"OPENBLAS_CORETYPE": "Prescott"})
    ]
    assert told[0] == told[1]
