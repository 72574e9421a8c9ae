"""Baselines on real people: uniform, pooled and empirical best on a file of response distributions.

The file is a list of studies, each with conditions: a full text, the number of responses and the share
of each response. A study's condition may pool several outcome questions, as the file does; its cell is
the pair (study, condition). Responses that the text does not allow (such as 98 for no answer) are
counted and left out. Conditions of the same study count as one question for ``pooled`` when they are
asked on the same scale.
Run:  python -m benchmarks.real_distributions FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from socrates.core.params import load
from socrates.data.scales.resolve import resolve_scales
from socrates.evaluation import references
from socrates.evaluation.cells import Survey
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictions import read_predictions
from socrates.evaluation.resampling import estimates
from socrates.evaluation.scoring import people_against_people, score
from socrates.survey.scales import scale
from socrates.survey.tables import PREDICTIONS, RESPONSES


def responses(studies: list[dict]) -> pl.DataFrame:
    """One row per person, remade from shares and counts; nobody's demographics are known."""
    parts, sample = [], 0
    for study in studies:
        for condition, cell in sorted(study["conditions"].items(), key=lambda item: int(item[0])):
            counts = {
                int(k): round(v * cell["num_responses"]) for k, v in cell["response_distribution"].items()
            }
            answers = np.repeat(list(counts), list(counts.values()))
            ids = np.arange(sample, sample + len(answers))
            sample += len(answers)
            parts.append(
                pl.DataFrame({"response": answers, "sample_id": ids, "participant": ids}).with_columns(
                    pl.lit(study["study_id"]).alias("study_id"),
                    pl.lit(int(condition)).alias("condition_num"),
                    pl.lit(0).alias("task_num"),
                    pl.lit(cell["full_stimuli"]).alias("stimuli"),
                    pl.lit(None, RESPONSES["demographic"]).alias("demographic"),
                )
            )
    return pl.concat(parts).select(pl.col(name).cast(kind) for name, kind in RESPONSES.items())


def survey_of(table: pl.DataFrame) -> tuple[Survey, dict[str, int]]:
    """The human side of the rows that their scale allows, and the rest counted by reason."""
    resolved = resolve_scales(table)
    notations = resolved["scale"].drop_nulls().unique().to_list()
    allowed = pl.DataFrame(
        [(n, list(scale(n).options)) for n in notations],
        {"scale": pl.String, "allowed": pl.List(pl.Int64)},
        orient="row",
    )
    known = resolved.drop_nulls("scale").join(allowed, on="scale")
    kept = known.filter(pl.col("response").is_in(pl.col("allowed")))
    counts = {"no scale": len(table) - len(known), "outside the scale": len(known) - len(kept)}
    flat = kept.with_columns(
        probabilities=pl.col("allowed")
        .list.eval((pl.element() * 0 + 1) / pl.len())
        .cast(pl.List(pl.Float32)),
        allowed_mass=pl.lit(1, pl.Float32),
    )
    return read_predictions(flat.select(*PREDICTIONS), Path("distributions"), "uniform")[0], counts


def main(path: Path) -> None:
    """Print the table."""
    params = load(Evaluate)
    table = responses(json.loads(path.read_text(encoding="utf-8")))
    survey, left_out = survey_of(table)
    marginals = references.train_marginals(
        survey.rows.select("study_id", "scale", "response"), longest=survey.grid.shape[1]
    )
    names = {"train_marginal": "average of the same studies for the scale length (oracle here)"}
    scored = [score(survey, p, params) for p in references.reference_predictors(survey, marginals, None)]
    scored.append(people_against_people(survey, params))
    figures = {names.get(part.name, part.name): estimates(survey, part, {}, params) for part in scored}
    print(
        f"{len(table):,} answers, {len(survey.cells)} cells, {len(survey.studies)} studies; left out: {left_out}"
    )
    print("| predictor | paper | paper, flat | clipped | stated | stated, flat |\n|---|---|---|---|---|---|")
    keys = (
        "wasserstein",
        "wasserstein_cells",
        "clipped.wasserstein",
        "stated.wasserstein",
        "stated.wasserstein_cells",
    )
    for name, known in figures.items():
        shown = []
        for key in keys:
            figure = known[key]
            ends = "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"
            shown.append(f"{figure.value:.4f}{ends}")
        print(f"| {name} | {' | '.join(shown)} |")
    print(f"split halves, paper: {known['split_half.wasserstein'].value:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
