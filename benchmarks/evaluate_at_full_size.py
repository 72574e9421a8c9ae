"""Time and memory of the evaluation at the size of the paper's unseen split, against a plain loop.

482,642 answers in about 800 cells of 40 studies, scored by both models and all
baselines with 1,000 bootstrap draws. The loop is scipy.stats.wasserstein_distance per cell and draw
on the answers themselves, timed on a few cells and scaled up.
Run:  python -m benchmarks.evaluate_at_full_size
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import wasserstein_distance
from threadpoolctl import threadpool_limits

from benchmarks.prediction_world import world
from socrates.core.params import load
from socrates.evaluation.evaluate import evaluate
from socrates.evaluation.params import Evaluate
from socrates.survey.scales import scale

ANSWERS = 482_642


def loop_seconds(table: pl.DataFrame, draws: int, rng: np.random.Generator) -> float:
    """Seconds that one predictor's W would take by SciPy per cell and draw, from 20 cells x 5 draws.

    Each draw resamples the respondents of a cell, averages their predicted probabilities and
    compares the mean with the resampled answers: what the evaluation does with matrix products.
    """
    cells = table.partition_by("study_id", "condition_num", "task_num")
    sample = [cells[i] for i in np.linspace(0, len(cells) - 1, 20).astype(int)]
    started = time.perf_counter()
    for cell in sample:
        options = np.array(scale(cell["scale"][0]).options, dtype=float)
        answers = cell["response"].to_numpy()
        probabilities = np.stack(cell["probabilities"].to_list())
        for _ in range(5):
            drawn = rng.integers(len(answers), size=len(answers))
            wasserstein_distance(options, answers[drawn], probabilities[drawn].mean(axis=0))
    return (time.perf_counter() - started) / (20 * 5) * len(cells) * draws


def main() -> None:
    """Print one Markdown row."""
    predictions, truth = world(40, 5, 4, 720, {"adapter": 0.1, "base": 0.25}, seed=3)
    order = (
        predictions["base"]
        .select("study_id", "sample_id")
        .sample(min(ANSWERS, len(predictions["base"])), seed=1)
    )
    predictions = {
        name: table.join(order, on=["study_id", "sample_id"]) for name, table in predictions.items()
    }
    params = load(Evaluate)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    train = predictions["base"].select("study_id", "scale", "response")
    paths = {name: Path(name) for name in predictions}
    with threadpool_limits(1, "blas"):  # as the stage does
        result = evaluate(predictions, paths, train, truth, {"adapter": {}, "base": {}}, params)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loop = 2 * loop_seconds(predictions["adapter"], params.bootstrap, np.random.default_rng(0))
    print(result.summary)
    print(
        "| answers | cells | studies | draws | seconds | peak memory | SciPy loop, W of two models alone | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    counts = result.metrics["counts"]
    assert isinstance(counts, dict)
    print(
        f"| {counts['answers']:,} | {counts['cells']} | {counts['studies']} | {params.bootstrap:,} | {seconds:.1f} "
        f"| {peak / 1e6:.2f} GB ({before / 1e6:.2f} before) | {loop:.0f} s | {loop / seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
