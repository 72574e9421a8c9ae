"""Does the prediction serve all kinds of people equally well?

For each demographic attribute, accuracy and W are computed within each group, and the gap is the
difference between the best and the worst served group. It is the demographic parity difference
(Agarwal et al. 2018: the largest difference between groups in a rate) with the rate of a favourable
decision replaced by how well a group is predicted, which is how the paper uses the term.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from socrates.evaluation import distance
from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.survey.tables import DEMOGRAPHICS

AGES = ((30, "18-29"), (45, "30-44"), (60, "45-59"), (200, "60 and over"))


def codes(survey: Survey, min_group_size: int) -> dict[str, tuple[list[str], Ints]]:
    """attribute -> (groups, [N] index of each row's group, -1 for none), large groups only.

    Ages in years are put into brackets. A group counts respondents, not answers; attributes with
    fewer than two large groups are left out, because there is nothing to compare.
    """
    found = {}
    for attribute in DEMOGRAPHICS:
        column = survey.rows["demographic"].struct.field(attribute)
        if attribute == "age":
            column = _brackets(column)
        people = (
            survey.rows.select("study_id", "participant", column.alias("group")).unique().drop_nulls("group")
        )
        sizes = people.group_by("group").len().filter(pl.col("len") >= min_group_size)
        names = sorted(sizes["group"])
        if len(names) >= 2:
            index = column.replace_strict(
                {name: i for i, name in enumerate(names)}, default=-1, return_dtype=pl.Int64
            )
            found[attribute] = (names, index.fill_null(-1).to_numpy())
    return found


def _brackets(ages: pl.Series) -> pl.Series:
    """Age brackets of ages in years; other texts stay as they are."""
    years = ages.str.strip_chars().cast(pl.Float64, strict=False)
    named: pl.Expr = pl.col("age")
    for limit, name in reversed(AGES):
        named = pl.when(pl.col("years") < limit).then(pl.lit(name)).otherwise(named)
    return pl.DataFrame({"years": years, "age": ages}).select(named.alias("age"))["age"]


def group_table(
    survey: Survey,
    predictors: list[Predictor],
    accuracy: dict[str, np.ndarray],
    min_group_size: int,
    min_cell_size: int,
) -> pl.DataFrame:
    """One row per predictor, attribute and group: respondents, accuracy, W on the stated scale.

    Accuracy is the mean over the group's answers. W compares the group's predicted and human
    distributions within each cell that has at least ``min_cell_size`` of its answers, and is the
    mean over those cells.

    Args:
        accuracy: predictor -> [N] as in :class:`individual.Individual`.
    """
    stated = distance.gaps(survey.human, survey.grid, "stated")
    people = survey.rows.select(pl.struct("study_id", "participant").rank("dense").alias("id"))[
        "id"
    ].to_numpy()
    rows = []
    for attribute, (names, index) in codes(survey, min_group_size).items():
        w = {p.name: _group_w(survey, p, index, len(names), stated, min_cell_size) for p in predictors}
        member = index >= 0
        answers = np.bincount(index[member], minlength=len(names))
        respondents = [len(np.unique(people[index == i])) for i in range(len(names))]
        for p in predictors:
            mean = np.bincount(index[member], accuracy[p.name][member], len(names)) / answers
            rows += [
                (
                    p.name,
                    attribute,
                    name,
                    respondents[i],
                    int(answers[i]),
                    float(mean[i]),
                    _number(w[p.name][i]),
                )
                for i, name in enumerate(names)
            ]
    columns = ["predictor", "attribute", "group", "respondents", "answers", "accuracy", "stated.wasserstein"]
    kinds = [pl.String] * 3 + [pl.Int64] * 2 + [pl.Float64] * 2
    return pl.DataFrame(rows, dict(zip(columns, kinds, strict=True)), orient="row")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _group_w(
    survey: Survey, predictor: Predictor, index: Ints, groups: int, gap: Floats, min_cell_size: int
) -> Floats:
    """[groups] mean stated W over the cells with enough answers of the group; NaN without any."""
    total, cells = np.zeros(groups), np.zeros(groups)
    human = np.zeros((groups, survey.grid.shape[1]))
    predicted = np.zeros_like(human)

    def finish(cell: int) -> None:
        size = human.sum(axis=1)
        used = size >= min_cell_size
        w = distance.wasserstein(
            predicted[used] / size[used, None], human[used] / size[used, None], gap[cell]
        )
        total[used] += w
        cells[used] += 1
        human[:], predicted[:] = 0, 0

    for position, (block, probabilities) in enumerate(zip(survey.blocks, predictor.blocks, strict=True)):
        group = index[block.rows]
        members = (group[None, :] == np.arange(groups)[:, None]).astype(np.float32)
        counts = np.zeros((groups, len(block.options)))
        inside = group >= 0
        np.add.at(counts, (group[inside], block.answers[inside]), 1)
        human[:, block.columns] += counts
        shared = len(probabilities) == 1
        predicted[:, block.columns] += (
            members.sum(axis=1, keepdims=True) * probabilities if shared else members @ probabilities
        )
        last = position + 1 == len(survey.blocks) or survey.blocks[position + 1].cell != block.cell
        if last:
            finish(block.cell)
    return distance.ratio(total, cells)


def gaps(table: pl.DataFrame) -> pl.DataFrame:
    """One row per predictor and attribute: best minus worst accuracy, worst minus best W."""
    spread = [
        (pl.col(key).max() - pl.col(key).min()).alias(name)
        for key, name in (("accuracy", "accuracy_gap"), ("stated.wasserstein", "wasserstein_gap"))
    ]
    return table.group_by("predictor", "attribute", maintain_order=True).agg(*spread)
