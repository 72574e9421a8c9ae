"""How people of the training studies used a scale, whatever was asked."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.survey.scales import nearest, scale, thin_scale


def train_marginals(train: pl.DataFrame, max_options: int) -> dict[int, NDArray[np.float64]]:
    """Scale length -> mean distribution of the training studies over scales of that length.

    Answers (``train``: study_id, scale, response) are averaged within a study, then over studies, so that a large study
    does not speak for all. A scale beyond ``max_options`` is thinned, as that of a prediction is.
    """
    counted = train.group_by("study_id", "scale", "response").len().sort("study_id", "scale", "response")
    totals: dict[tuple[str, int], NDArray[np.float64]] = {}
    for (study, notation), part in counted.group_by(["study_id", "scale"], maintain_order=True):
        known = thin_scale(scale(str(notation)), max_options)
        inside = part.filter(pl.col("response").is_between(known.low, known.high))
        index = np.searchsorted(known.options, nearest(known, inside["response"].to_numpy()))
        key = str(study), len(known.options)
        totals[key] = totals.get(key, np.zeros(key[1])) + np.bincount(index, inside["len"].to_numpy(), key[1])
    shares: dict[int, list[NDArray[np.float64]]] = {}
    for (_, length), total in sorted(totals.items(), key=lambda item: item[0]):
        if total.sum():
            shares.setdefault(length, []).append(total / total.sum())
    return {length: np.mean(parts, axis=0) for length, parts in shares.items()}
