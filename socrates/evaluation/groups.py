"""Does the prediction serve all kinds of people equally well?

For each demographic attribute, a group's accuracy is held against the mean of the cells that it answered, so that a
group that sits in hard studies is not badly served by that alone. The gap is the best served group minus the worst:
the demographic parity difference (Agarwal et al. 2018: the largest difference between groups in a rate) with the
rate replaced by how well a group is predicted, which is how the paper uses the term. A gap is above zero by chance
alone; the yardstick is the gap where respondents who answered the same questions exchange their places.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.evaluation.cells import Survey
from socrates.evaluation.distance import Floats, Ints
from socrates.evaluation.intervals import centred, generator, share, sums_by
from socrates.evaluation.params import Evaluate
from socrates.survey.tables import DEMOGRAPHICS

AGES = ([30, 45, 60], ["18-29", "30-44", "45-59", "60 and over"])  # where a bracket begins, in years
SHUFFLED = 20_000_000  # respondents times permutations, at most: fewer permutations of half a million answers


def group_codes(survey: Survey, min_group_size: int) -> dict[str, tuple[list[str], Ints]]:
    """attribute -> (groups, [P] index of each respondent's group, -1 for none), of groups that are large enough.

    Ages in years are put into brackets, other texts stay. An attribute with fewer than two such groups is left out.
    """
    codes = {}
    people = survey.rows["demographic"][np.unique(survey.person, return_index=True)[1]]
    for attribute in DEMOGRAPHICS:
        column = people.struct.field(attribute).alias("group")
        if attribute == "age":
            years = column.str.strip_chars().cast(pl.Float64, strict=False)
            column = years.cut(AGES[0], labels=AGES[1], left_closed=True).cast(pl.String).fill_null(column)
        sizes = column.drop_nulls().value_counts()
        names = sizes.filter(pl.col("count") >= min_group_size)["group"].sort().to_list()
        if len(names) >= 2:
            index = column.replace_strict(names, range(len(names)), default=-1, return_dtype=pl.Int64)
            codes[attribute] = (names, index.fill_null(-1).to_numpy())
    return codes


def group_gaps(survey: Survey, name: str, accuracy: NDArray[np.floating], params: Evaluate) -> pl.DataFrame:
    """The gap of every attribute in a predictor's accuracy [N] beside what chance gives.

    Returns:
        attribute, predictor, ``accuracy_gap`` (best minus worst group, each against the mean of its cells), ``chance``
        (the median gap of the permutations) and ``p`` (share of permutations with at least this gap, both counted).
    """
    residual = centred(survey.cell_of_answer, accuracy)
    against_cell = sums_by(survey.person, int(survey.person.max()) + 1, residual, np.ones(len(residual)))
    known = group_codes(survey, params.min_group_size)
    orders = _shuffles(survey, params) if known else []
    gaps = []
    for attribute, (names, own) in known.items():
        gap = _gap(own, against_cell, len(names))
        chance = [_gap(own[order], against_cell, len(names)) for order in orders]
        extreme = sum(other >= gap - 1e-12 for other in chance)
        beside = (np.median(chance), (extreme + 1) / (len(chance) + 1)) if chance else (None, None)
        gaps.append((attribute, name, gap, *beside))
    numbers = dict.fromkeys(("accuracy_gap", "chance", "p"), pl.Float64)
    return pl.DataFrame(gaps, {"attribute": pl.String, "predictor": pl.String, **numbers}, orient="row")


def _shuffles(survey: Survey, params: Evaluate) -> list[Ints]:
    """Permutations [P] of the respondents among those who answered the same cells."""
    rows = pl.DataFrame({"person": survey.person, "cell": survey.cell_of_answer})
    answered = rows.group_by("person").agg(pl.col("cell").sort().cast(pl.String).str.join(" ")).sort("person")
    alike = answered["cell"].rank("dense").to_numpy()
    rng = generator(params.seed, "groups")
    sorted_by = np.argsort(alike, kind="stable")
    orders = []
    for _ in range(min(params.bootstrap, SHUFFLED // len(alike))):
        order = np.empty(len(alike), np.int64)
        order[sorted_by] = np.lexsort((rng.random(len(alike)), alike))
        orders.append(order)
    return orders


def _gap(index: Ints, served: Floats, groups: int) -> float:
    """Largest minus smallest mean of the groups, from each respondent's group [P] and sum and count [P, 2]."""
    member = index >= 0
    means = share(sums_by(index[member], groups, *served[member].T))
    return float(np.nanmax(means) - np.nanmin(means))
