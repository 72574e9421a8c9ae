"""Does the prediction serve all kinds of people equally well?

For each demographic attribute, accuracy and W are computed within each group, and the gap is the
difference between the best and the worst served group. It is the demographic parity difference
(Agarwal et al. 2018: the largest difference between groups in a rate) with the rate of a favourable
decision replaced by how well a group is predicted, which is how the paper uses the term.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from socrates.evaluation import distance
from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.evaluation.intervals import Pooled, generator, interval, share
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
            column = brackets(column)
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


def brackets(ages: pl.Series) -> pl.Series:
    """Age brackets of ages in years; other texts stay as they are."""
    years = ages.str.strip_chars().cast(pl.Float64, strict=False)
    named: pl.Expr = pl.col("age")
    for limit, name in reversed(AGES):
        named = pl.when(pl.col("years") < limit).then(pl.lit(name)).otherwise(named)
    return pl.DataFrame({"years": years, "age": ages}).select(named.alias("age"))["age"]


GAPS = ("accuracy_gap", "wasserstein_gap")


@dataclass(frozen=True)
class Served:
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

    def gap(self, key: str) -> Pooled:
        """``accuracy_gap``: best minus worst accuracy; ``wasserstein_gap``: worst minus best W."""
        sums = {"accuracy_gap": self.accuracy, "wasserstein_gap": self.wasserstein}[key]
        return Pooled(_widest, sums.reshape(len(sums), -1))


def served(
    survey: Survey,
    predictors: list[Predictor],
    accuracy: dict[str, np.ndarray],
    min_group_size: int,
    min_cell_size: int,
) -> list[Served]:
    """Accuracy and W on the stated scale by group, for every attribute and predictor.

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
    study_of_row = np.repeat(survey.study, survey.respondents)
    found = []
    for attribute, (names, index) in codes(survey, min_group_size).items():
        member = index >= 0
        shape = len(survey.studies), len(names)
        place = np.ravel_multi_index((study_of_row[member], index[member]), shape)
        answers = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
        respondents = np.array([len(np.unique(people[index == i])) for i in range(len(names))])
        for p in predictors:
            close = np.bincount(place, accuracy[p.name][member], shape[0] * shape[1]).reshape(shape)
            w = _group_w(survey, p, index, len(names), stated, min_cell_size)
            found.append(
                Served(p.name, attribute, names, respondents, np.stack([close, answers], axis=-1), w)
            )
    return found


def group_table(parts: list[Served]) -> pl.DataFrame:
    """One row per attribute, predictor and group: respondents, answers, accuracy, W on the stated scale."""
    rows = []
    for part in parts:
        close, w = part.accuracy.sum(axis=0), part.wasserstein.sum(axis=0)
        rows += [
            (part.predictor, part.attribute, name, int(people), int(a[1]), float(a[0] / a[1]), float(d))
            for name, people, a, d in zip(part.groups, part.respondents, close, share(w), strict=True)
        ]
    columns = ["predictor", "attribute", "group", "respondents", "answers", "accuracy", "stated.wasserstein"]
    kinds = [pl.String] * 3 + [pl.Int64] * 2 + [pl.Float64] * 2
    return pl.DataFrame(rows, dict(zip(columns, kinds, strict=True)), orient="row").fill_nan(None)


def gap_table(parts: list[Served], draws: int, seed: int) -> pl.DataFrame:
    """One row per attribute and predictor: each gap with its interval."""
    rows = []
    for part in parts:
        row: list[object] = [part.predictor, part.attribute]
        for key in GAPS:
            found = interval(part.gap(key), draws, generator(seed, "groups", part.attribute, key))
            low = None if found.low is None else max(found.low, 0.0)
            row += [found.value, low, found.high]
        rows.append(row)
    columns = ["predictor", "attribute", *(f"{key}{end}" for key in GAPS for end in ("", "_low", "_high"))]
    kinds = [pl.String] * 2 + [pl.Float64] * 6
    return pl.DataFrame(rows, dict(zip(columns, kinds, strict=True)), orient="row")


def figures(parts: list[Served]) -> dict[str, Pooled]:
    """The gaps of one predictor over its attributes: their means, and the largest (``_max``)."""
    found = {}
    for key in GAPS:
        gaps = [part.gap(key) for part in parts]
        ends = np.cumsum([gap.sums.shape[1] for gap in gaps])[:-1]

        def every(t: Floats, ends: Ints = ends) -> Floats:
            return np.stack([_widest(sums) for sums in np.split(t, ends, axis=-1)])

        sums = np.hstack([gap.sums for gap in gaps])
        found[key] = Pooled(lambda t, every=every: _over(every(t), np.nanmean), sums)  # type: ignore[misc]
        found[f"{key}_max"] = Pooled(lambda t, every=every: _over(every(t), np.nanmax), sums)  # type: ignore[misc]
    return found


def _over(gaps: Floats, summary: Callable[..., Floats]) -> Floats:
    """``summary`` over the attributes (first axis) that have a gap; NaN where none has."""
    none = np.isnan(gaps).all(axis=0)
    return np.where(none, np.nan, summary(np.where(none, 0, gaps), axis=0))


def _widest(sums: Floats) -> Floats:
    """[...] largest minus smallest share of [..., 2 G] sums and counts, among groups with a count."""
    values = share(sums.reshape(*sums.shape[:-1], -1, 2))
    none = np.isnan(values)
    widest = np.where(none, -np.inf, values).max(axis=-1) - np.where(none, np.inf, values).min(axis=-1)
    return np.where(np.isfinite(widest), widest, np.nan)


def _group_w(
    survey: Survey, predictor: Predictor, index: Ints, groups: int, gap: Floats, min_cell_size: int
) -> Floats:
    """[S, groups, 2] summed stated W over the cells with enough answers of the group, and those cells."""
    found = np.zeros((len(survey.studies), groups, 2))
    human = np.zeros((groups, survey.grid.shape[1]))
    predicted = np.zeros_like(human)

    def finish(cell: int) -> None:
        size = human.sum(axis=1)
        used = size >= min_cell_size
        w = distance.wasserstein(
            predicted[used] / size[used, None], human[used] / size[used, None], gap[cell]
        )
        found[survey.study[cell], used] += np.stack([w, np.ones(len(w))], axis=-1)
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
    return found
