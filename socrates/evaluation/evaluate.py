"""The whole evaluation of the predictors on one test set, as one function of tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from socrates.evaluation.cells import Predictor, Survey, by_text
from socrates.evaluation.intervals import FOR_A_RESULT
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictions import check_same, read_predictions
from socrates.evaluation.predictors import COMPARED, PRIMARY, ordered
from socrates.evaluation.reading import reading
from socrates.evaluation.references import planted, pooled, train_marginal, uniform
from socrates.evaluation.scoring import differences, estimates, perfect_prediction, score
from socrates.evaluation.summary import Reasons, Tree, counts, figures_of_the_rest, tables, to_nested_dict
from socrates.survey.marginals import train_marginals
from socrates.survey.tables import CELL

Tables = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Evaluation:
    """What the stage writes: nested scalars, tables by file name, and the line it prints."""

    metrics: Tree
    tables: dict[str, pl.DataFrame]
    summary: str


def evaluate(
    predictions: Tables,
    paths: Mapping[str, Path],
    train: pl.DataFrame,
    truth: pl.DataFrame | None,
    excluded: Reasons,
    params: Evaluate,
    best_baseline: str | None = None,
    flagged: pl.DataFrame | None = None,
    probes: Tables | None = None,
    texts: pl.DataFrame | None = None,
    max_options: int = 1001,
) -> Evaluation:
    """Score every predictor and baseline against the people of the test studies.

    Args:
        predictions: columns of ``tables.PREDICTIONS`` by predictor: ``adapter`` if one was trained, ``base``, others.
        train: study_id, response and scale of the training rows; ``truth``: columns of ``tables.PERSON_TRUTH``.
        best_baseline: the baseline of the primary comparison, chosen on the validation studies.
        flagged: CELL of the cells whose text resembles one of training; headline figures are also given without them.
        probes: by name, what the adapter predicted with a part of the prompt changed; columns as predictions.
        texts: study_id, sample_id and ``text``, which people read the same; None where all of a cell did.
        max_options: training scales are thinned to, as predicted ones are.

    Raises :class:`DataError` for predictions that cannot be scored, or not of the same respondents.
    """
    survey, read = _read(predictions, paths)
    survey = survey if texts is None else by_text(survey, texts)
    marginals = train_marginals(train, max_options)
    references = [uniform(survey), train_marginal(survey, marginals), pooled(survey)]
    references += [] if truth is None else [planted(survey, truth)]
    predictors = {part.name: part for part in (*read, *references)}
    scores = {name: score(survey, part, params) for name, part in predictors.items()}
    scores["empirical_best"] = perfect_prediction(survey, params)

    metrics = {name: to_nested_dict(estimates(survey, part, params)) for name, part in scores.items()}
    first = read[0].name  # the fine-tuned model; the base model where nothing was trained
    pairs = {f"{first}_minus_{name}": name for name in (*(part.name for part in read[1:]), *COMPARED)}
    if best_baseline is not None:
        pairs[f"{first}_minus_{PRIMARY}"] = best_baseline
        metrics["primary"] = {"baseline": best_baseline}
    for key, other in pairs.items():
        metrics[key] = to_nested_dict(differences(scores[first], scores[other], params), signed=True)
    known = [part for name, part in predictors.items() if name in (first, "planted")]
    # a probe without rows: nobody could be asked so
    given = {name: table for name, table in (probes or {}).items() if table.height}
    asked = {name: read_predictions(table, Path(name), name) for name, table in given.items()}
    metrics["reading"] = reading(survey, known, asked, params)
    metrics["counts"] = counts(survey, params, excluded, marginals)
    near = survey.cells.join(flagged, on=CELL, how="semi").height if flagged is not None else 0
    metrics["counts"]["cells_near_duplicate"] = near
    if flagged is not None and 0 < near < len(survey.cells):
        rest = {name: table.join(flagged, on=CELL, how="anti") for name, table in predictions.items()}
        without = evaluate(
            rest, paths, train, truth, excluded, params, best_baseline, texts=texts, max_options=max_options
        )
        metrics["without_near_duplicates"] = figures_of_the_rest(without.metrics)
    return Evaluation(metrics, tables(survey, list(scores.values()), params), _line(metrics))


def _read(predictions: Tables, paths: Mapping[str, Path]) -> tuple[Survey, list[Predictor]]:
    """The human side, and every predictor that was read, the fine-tuned model first."""
    names = ordered(predictions)
    read = {name: read_predictions(predictions[name], paths[name], name) for name in names}
    survey, _ = read[names[0]]
    for name in names[1:]:
        check_same(survey, paths[names[0]], read[name][0], paths[name])
    return survey, [predictor for _, predictor in read.values()]


def _line(metrics: Tree) -> str:
    counts = metrics["counts"]
    shown = []
    for name in ("adapter", "base", "uniform", "empirical_best"):
        if name in metrics:
            w = metrics[name]["wasserstein"]
            shown.append(f"{name} {'none' if w is None else f'{w:.4f}'}")
    line = (
        f"evaluate: W {', '.join(shown)} over {counts['cells_scored']} of {counts['cells']} cells, "
        f"{counts['studies_scored']} of {counts['studies']} studies, {counts['answers']} answers"
    )
    few = f"; fewer than {FOR_A_RESULT} test studies carry no result: this run shows that the data are read"
    return line + (few if counts["studies_scored"] < FOR_A_RESULT else "")
