"""Time and memory of the evaluation at the size of the paper's unseen split.

    python -m benchmarks.evaluate_at_full_size

482,642 answers in about 800 cells of 40 studies, scored by both models and all baselines with 1,000 bootstrap draws.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

from benchmarks.prediction_world import world
from socrates.core.params import load
from socrates.evaluation.evaluate import evaluate
from socrates.evaluation.params import Evaluate

ANSWERS = 482_642


def main() -> None:
    """Print one Markdown row."""
    predictions, truth = world(40, 5, 4, 720, {"adapter": 0.1, "base": 0.25}, seed=3)
    keys = predictions["base"].select("study_id", "sample_id")
    chosen = keys.sample(min(ANSWERS, len(keys)), seed=1)
    predictions = {name: table.join(chosen, on=keys.columns) for name, table in predictions.items()}
    params = load(Evaluate)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    train = predictions["base"].select("study_id", "scale", "response")
    paths = {name: Path(name) for name in predictions}
    result = evaluate(predictions, paths, train, truth, {"adapter": {}, "base": {}}, params)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(result.summary)
    counts = result.metrics["counts"]
    print("| answers | cells | studies | draws | seconds | peak memory |\n|---|---|---|---|---|---|")
    print(
        f"| {counts['answers']:,} | {counts['cells']} | {counts['studies']} | {params.bootstrap:,} | {seconds:.1f} "
        f"| {peak / 1e6:.2f} GB ({before / 1e6:.2f} before) |"
    )


if __name__ == "__main__":
    main()
