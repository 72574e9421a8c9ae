"""How far people's samples lie from the truth they came from, and what their own bootstrap says of it.

Takes the planted distributions of the test cells in data/ for the truth: W on the human range of fresh samples
against it, beside W of their resamples (``empirical_best``), with the cells' own numbers of people and with 300.
Run:  python -m benchmarks.floor
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from socrates.evaluation import distance
from socrates.evaluation.cells import Floats
from socrates.survey.scales import scale
from socrates.survey.tables import CELL

PREDICTIONS = Path("data/predictions/adapter/predictions.parquet")
TRUTH = Path("data/raw/truth.parquet")


def floors(cells: pl.DataFrame, people: int | None, repetitions: int, rng: np.random.Generator) -> Floats:
    """Mean over studies of W of fresh samples against the truth, and of their resamples against them.

    Args:
        cells: study_id, scale, probabilities (the truth), respondents.
        people: in every cell; None: as many as it has.
    """
    found = []
    for _ in range(repetitions):
        by_study: dict[str, list[list[float]]] = {}
        for study, notation, truth, own in cells.iter_rows():
            options, n = np.array(scale(notation).options, dtype=np.float64), people or own
            p = np.array(truth) / sum(truth)
            sample = rng.multinomial(n, p) / n
            gap = distance.gaps(sample[None], options[None], "paper")[0]
            if not np.isnan(gap).any():  # not everyone agreed
                sides = (p, rng.multinomial(n, sample) / n)
                w = [float(distance.wasserstein(side, sample, gap)) for side in sides]
                by_study.setdefault(study, []).append(w)
        found.append(np.mean([np.mean(part, axis=0) for part in by_study.values()], axis=0))
    return np.mean(found, axis=0)


def main() -> None:
    sizes = pl.read_parquet(PREDICTIONS, columns=list(CELL)).group_by(CELL).agg(respondents=pl.len())
    cells = pl.read_parquet(TRUTH).join(sizes, on=CELL).sort(CELL)
    cells = cells.select("study_id", "scale", "probabilities", "respondents")
    for people, repetitions in ((None, 200), (300, 60)):
        truth, bootstrap = floors(cells, people, repetitions, np.random.default_rng(1))
        print(f"{people or 'own'} people a cell: W to the truth {truth:.4f}, by bootstrap {bootstrap:.4f}")


if __name__ == "__main__":
    main()
