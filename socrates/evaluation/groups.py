"""Does the prediction serve all kinds of people equally well?

For each demographic attribute, accuracy and W are computed within each group, and the gap is the
difference between the best and the worst served group. It is the demographic parity difference
(Agarwal et al. 2018: the largest difference between groups in a rate) with the rate of a favourable
decision replaced by how well a group is predicted, which is how the paper uses the term.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.evaluation import distance
from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.evaluation.intervals import StudyStatistic, confidence_interval, generator, share, sums_by
from socrates.survey.tables import DEMOGRAPHICS

AGES = ((30, "18-29"), (45, "30-44"), (60, "45-59"), (200, "60 and over"))
GAPS = ("accuracy_gap", "wasserstein_gap")


@dataclass(frozen=True)
class GroupMetrics:
    """How well one predictor serves the groups of one attribute; G groups.

    Attributes:
        predictor, attribute: their names.
        groups: G names.
        respondents: [G].
        accuracy: [S, G, 2] by study: summed accuracy, and answers.
        wasserstein: [S, G, 2] by study: summed stated W, and cells.
    """

    predictor: str
    attribute: str
    groups: list[str]
    respondents: Ints
    accuracy: Floats
    wasserstein: Floats

    def gap(self, key: str) -> StudyStatistic:
        """``accuracy_gap``: best minus worst accuracy; ``wasserstein_gap``: worst minus best W."""
        sums = {"accuracy_gap": self.accuracy, "wasserstein_gap": self.wasserstein}[key]
        return StudyStatistic(_widest, sums.reshape(len(sums), -1))


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
    survey: Survey,
    predictor: Predictor,
    accuracy: NDArray[np.floating],
    min_group_size: int,
    min_cell_size: int,
) -> list[GroupMetrics]:
    """Accuracy and W on the stated scale by group, for every attribute.

    Accuracy is the mean over the group's answers. W compares the group's predicted and human
    distributions within each cell that has at least ``min_cell_size`` of its answers, and is the
    mean over those cells.

    Args:
        accuracy: [N] of each answer.
    """
    respondent = pl.struct("study_id", "participant").rank("dense").alias("id")
    people = survey.rows.select(respondent)["id"].to_numpy()
    metrics = []
    for attribute, (names, index) in group_codes(survey, min_group_size).items():
        member = index >= 0
        s, g = len(survey.studies), len(names)
        position = survey.study_of_answer[member] * g + index[member]
        close = sums_by(position, s * g, accuracy[member], np.ones(len(position))).reshape(s, g, 2)
        respondents = np.array([len(np.unique(people[index == i])) for i in range(g)])
        w = _wasserstein_by_group(survey, predictor, index, g, min_cell_size)
        metrics.append(GroupMetrics(predictor.name, attribute, names, respondents, close, w))
    return metrics


def gap_statistics(metrics: Sequence[GroupMetrics]) -> dict[str, StudyStatistic]:
    """The gaps of one predictor over its attributes: their means, and the largest (``_max``)."""
    statistics = {}
    for key in GAPS if metrics else ():
        gaps = [part.gap(key) for part in metrics]
        sums = np.hstack([gap.sums for gap in gaps])
        ends = np.cumsum([gap.sums.shape[1] for gap in gaps])[:-1]
        for ending, summary in (("", _mean), ("_max", np.fmax.reduce)):
            statistics[key + ending] = StudyStatistic(_over_attributes(summary, ends), sums)
    return statistics


def group_table(metrics: Sequence[GroupMetrics]) -> pl.DataFrame:
    """One row per attribute, predictor and group: respondents, answers, accuracy, W on the stated scale."""
    columns = {"predictor": pl.String, "attribute": pl.String, "group": pl.String, "respondents": pl.Int64,
               "answers": pl.Int64, "accuracy": pl.Float64, "stated.wasserstein": pl.Float64}  # fmt: skip
    rows = [
        (part.predictor, part.attribute, name, int(people), int(a[1]), float(a[0] / a[1]), float(d))
        for part in metrics
        for name, people, a, d in zip(
            part.groups,
            part.respondents,
            part.accuracy.sum(axis=0),
            share(part.wasserstein.sum(axis=0)),
            strict=True,
        )
    ]
    return pl.DataFrame(rows, columns, orient="row").fill_nan(None)


def gap_table(metrics: Sequence[GroupMetrics], draws: int, seed: int) -> pl.DataFrame:
    """One row per attribute and predictor: each gap with its interval, which stays above zero."""
    rows = []
    for part in metrics:
        row: list[object] = [part.predictor, part.attribute]
        for key in GAPS:
            gap = confidence_interval(part.gap(key), draws, generator(seed, "groups", part.attribute, key))
            row += [gap.value, None if gap.low is None else max(gap.low, 0.0), gap.high]
        rows.append(row)
    ends = (f"{key}{end}" for key in GAPS for end in ("", "_low", "_high"))
    columns = {"predictor": pl.String, "attribute": pl.String} | dict.fromkeys(ends, pl.Float64)
    return pl.DataFrame(rows, columns, orient="row")


def _widest(sums: Floats) -> Floats:
    """[...] largest minus smallest share of [..., 2 G] sums and counts; fmax and fmin pass over NaN."""
    shares = share(sums.reshape(*sums.shape[:-1], -1, 2))
    return np.fmax.reduce(shares, axis=-1) - np.fmin.reduce(shares, axis=-1)


def _mean(gaps: Floats) -> Floats:
    return distance.ratio(np.nansum(gaps, axis=0), (~np.isnan(gaps)).sum(axis=0).astype(np.float64))


def _over_attributes(summary: Callable[[Floats], Floats], ends: Ints) -> Callable[[Floats], Floats]:
    """``summary`` over the attributes (first axis) of their gaps, whose sums lie side by side."""
    return lambda t: summary(np.stack([_widest(sums) for sums in np.split(t, ends, axis=-1)]))


def _wasserstein_by_group(
    survey: Survey, predictor: Predictor, index: Ints, groups: int, min_cell_size: int
) -> Floats:
    """[S, groups, 2] summed stated W over the cells with enough answers of the group, and those cells."""
    gap = distance.gaps(survey.human, survey.grid, "stated")
    totals = np.zeros((len(survey.studies), groups, 2))
    for cell, blocks in enumerate(survey.blocks_by_cell()):
        human, predicted = np.zeros((2, groups, survey.grid.shape[1]))
        for block, p in ((survey.blocks[i], predictor.blocks[i]) for i in blocks):
            members = (index[block.rows] == np.arange(groups)[:, None]).astype(np.float32)
            chosen = np.eye(len(block.options), dtype=np.float32)[block.answers]
            human[:, block.columns] += members @ chosen
            shared = len(p) == 1
            predicted[:, block.columns] += members.sum(axis=1, keepdims=True) * p if shared else members @ p
        size = human.sum(axis=1)
        used = size >= min_cell_size
        w = distance.wasserstein(
            predicted[used] / size[used, None], human[used] / size[used, None], gap[cell]
        )
        totals[survey.study[cell], used] += np.stack([w, np.ones(len(w))], axis=-1)
    return totals
