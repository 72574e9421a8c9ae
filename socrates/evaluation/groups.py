"""Does the prediction serve all kinds of people equally well?

For each demographic attribute, a group's accuracy is held against the mean of the cells that it answered, so that a
group that sits in hard studies is not badly served by that alone. The gap is the best served group minus the worst:
the demographic parity difference (Agarwal et al. 2018: the largest difference between groups in a rate) with the
rate replaced by how well a group is predicted, which is how the paper uses the term. A gap is above zero by chance
alone; the yardstick is the gap where respondents who answered the same questions exchange their places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.evaluation.cells import Floats, Ints, Survey
from socrates.evaluation.intervals import generator, share, sums_by
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictors import MODELS
from socrates.survey.tables import DEMOGRAPHICS

AGES = ((30, "18-29"), (45, "30-44"), (60, "45-59"), (200, "60 and over"))
SHUFFLED = 20_000_000  # respondents times permutations, at most: fewer permutations of half a million answers


@dataclass(frozen=True)
class GroupMetrics:
    """How well one predictor serves the groups of one attribute; G groups.

    Attributes:
        predictor, attribute: their names.
        groups: G names.
        respondents: [G].
        sums: [G, 3] answers, summed accuracy and summed CRPS.
        gap: of accuracy, best minus worst group, each against the mean of its cells.
        chance: the median gap of the permutations; None for a predictor that is not one of the models.
        p: share of permutations with at least this gap, both counted.
    """

    predictor: str
    attribute: str
    groups: list[str]
    respondents: Ints
    sums: Floats
    gap: float
    chance: float | None
    p: float | None


def group_codes(survey: Survey, min_group_size: int) -> dict[str, tuple[list[str], Ints]]:
    """attribute -> (groups, [N] index of each answer's group, -1 for none), large groups only.

    Ages in years are put into brackets. A group counts respondents, not answers; attributes with
    fewer than two large groups are left out, because there is nothing to compare.
    """
    codes = {}
    for attribute in DEMOGRAPHICS:
        column = survey.rows["demographic"].struct.field(attribute)
        if attribute == "age":
            column = brackets(column)
        people = survey.rows.select("study_id", "participant", column.alias("group")).unique()
        sizes = people.drop_nulls("group").group_by("group").len().filter(pl.col("len") >= min_group_size)
        names = sorted(sizes["group"])
        if len(names) >= 2:
            index = column.replace_strict(names, range(len(names)), default=-1, return_dtype=pl.Int64)
            codes[attribute] = (names, index.fill_null(-1).to_numpy())
    return codes


def brackets(ages: pl.Series) -> pl.Series:
    """Age brackets of ages in years; other texts stay as they are."""
    years = ages.str.strip_chars().cast(pl.Float64, strict=False)
    named: pl.Expr = pl.col("age")
    for limit, name in reversed(AGES):
        named = pl.when(pl.col("years") < limit).then(pl.lit(name)).otherwise(named)
    return pl.DataFrame({"years": years, "age": ages}).select(named.alias("age"))["age"]


def group_metrics(
    survey: Survey, name: str, scores: Mapping[str, NDArray[np.floating]], params: Evaluate
) -> list[GroupMetrics]:
    """Accuracy and CRPS by group, for every attribute, and the gap in accuracy beside what chance gives.

    Args:
        name: of the predictor.
        scores: ``accuracy`` and ``crps`` [N] of each answer.
    """
    known = group_codes(survey, params.min_group_size)
    if not known:
        return []
    table = survey.rows.select(pl.struct("study_id", "participant").rank("dense").alias("person") - 1)
    person = table["person"].to_numpy().astype(np.int64)
    people, first = np.unique(person, return_index=True)
    cell = survey.cell_of_answer
    residual = scores["accuracy"] - (np.bincount(cell, scores["accuracy"]) / survey.respondents)[cell]
    served = sums_by(person, len(people), residual, np.ones(len(person)))
    shuffles = list(_shuffles(table.with_columns(cell=cell), params)) if name in MODELS else []
    metrics = []
    for attribute, (names, index) in known.items():
        member = index >= 0
        columns = (np.ones(len(index)), scores["accuracy"], scores["crps"])
        sums = sums_by(index[member], len(names), *(column[member] for column in columns))
        own = index[first]
        gap = _gap(own, served, len(names))
        chance = [_gap(own[order], served, len(names)) for order in shuffles]
        extreme = sum(other >= gap - 1e-12 for other in chance)
        metrics.append(
            GroupMetrics(
                name,
                attribute,
                names,
                np.bincount(own[own >= 0], minlength=len(names)),
                sums,
                gap,
                float(np.median(chance)) if chance else None,
                (extreme + 1) / (len(chance) + 1) if chance else None,
            )
        )
    return metrics


def _shuffles(rows: pl.DataFrame, params: Evaluate) -> list[Ints]:
    """Permutations [P] of the respondents among those who answered the same cells.

    Args:
        rows: person and cell of each answer.
    """
    answered = rows.group_by("person").agg(pl.col("cell").sort().cast(pl.String).str.join(" ")).sort("person")
    alike = answered["cell"].rank("dense").to_numpy()
    rng = generator(params.seed, "groups")
    sorted_by = np.argsort(alike, kind="stable")
    orders = []
    for _ in range(min(params.permutations, SHUFFLED // len(alike))):
        order = np.empty(len(alike), np.int64)
        order[sorted_by] = np.lexsort((rng.random(len(alike)), alike))
        orders.append(order)
    return orders


def _gap(index: Ints, served: Floats, groups: int) -> float:
    """Largest minus smallest mean of the groups, from each respondent's group [P] and sum and count [P, 2]."""
    member = index >= 0
    means = share(sums_by(index[member], groups, *served[member].T))
    return float(np.nanmax(means) - np.nanmin(means))


def group_table(metrics: Sequence[GroupMetrics]) -> pl.DataFrame:
    """One row per attribute, predictor and group: respondents, answers, accuracy, CRPS."""
    columns = {"predictor": pl.String, "attribute": pl.String, "group": pl.String, "respondents": pl.Int64,
               "answers": pl.Int64, "accuracy": pl.Float64, "crps": pl.Float64}  # fmt: skip
    rows = [
        (part.predictor, part.attribute, name, int(people), int(n), float(right / n), float(score / n))
        for part in metrics
        for name, people, (n, right, score) in zip(part.groups, part.respondents, part.sums, strict=True)
    ]
    return pl.DataFrame(rows, columns, orient="row")


def gap_table(metrics: Sequence[GroupMetrics]) -> pl.DataFrame:
    """One row per attribute and predictor: the gap in accuracy, the one that chance gives, and its p."""
    rows = [(part.predictor, part.attribute, part.gap, part.chance, part.p) for part in metrics]
    columns = ["predictor", "attribute", "accuracy_gap", "chance", "p"]
    floats = dict.fromkeys(columns[2:], pl.Float64)
    return pl.DataFrame(rows, columns, schema_overrides=floats, orient="row")
