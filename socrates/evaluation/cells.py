"""The survey that predictors are measured against, and their answer distributions, as arrays.

Shapes used throughout ``socrates.evaluation``:

    N  answers of test respondents, sorted by study, condition, task, scale, sample_id
    C  cells (study, condition, task)
    S  studies
    K  options of a cell, padded to the largest; a padded option has probability 0 and gap 0
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.evaluation.distance import Floats, Ints, ratio
from socrates.survey.scales import nearest
from socrates.survey.scales import scale as parse_scale
from socrates.survey.tables import CELL

KEY = ["study_id", "sample_id"]  # of an answer


@dataclass(frozen=True)
class Block:
    """Answers of one cell that share one scale. Most cells are one block."""

    rows: slice  # where they stand among the N answers
    cell: int
    positions: Floats  # [k] the scale's options, ascending, normalised: 0 at its low and 1 at its high end
    columns: Ints  # [k] where those options stand in the cell's grid
    answers: Ints  # [n] index of each human answer among the options
    texts: tuple[Ints, ...] = ()  # by index, the answers of those who read the same text; empty where all did


@dataclass(frozen=True)
class Survey:
    """What people answered: the side every predictor is measured against."""

    rows: pl.DataFrame  # the N answers, with the columns of the predictions table but the probabilities
    cells: pl.DataFrame  # C rows: study_id, condition_num, task_num, scale, scale_rule, respondents
    studies: list[str]  # sorted
    study: Ints  # [C] index of each cell's study
    grid: Floats  # [C, K] the cell's options (union over its scales), the last one repeated as padding
    options: Ints  # [C] number of options of the cell
    human: Floats  # [C, K] share of people per option
    blocks: list[Block]  # the answers, by cell and scale
    off_grid: int  # answers inside a scale but between its options, moved to the nearest option

    @cached_property
    def respondents(self) -> Ints:
        """[C] answers in each cell."""
        return self.cells["respondents"].to_numpy()

    @cached_property
    def cell_of_answer(self) -> Ints:
        """[N] index of each answer's cell."""
        return np.repeat(np.arange(len(self.cells)), self.respondents)

    @cached_property
    def study_of_answer(self) -> Ints:
        """[N] index of each answer's study."""
        return np.repeat(self.study, self.respondents)

    @cached_property
    def person(self) -> Ints:
        """[N] index of each answer's respondent."""
        people = self.rows.select(pl.struct("study_id", "participant").rank("dense").cast(pl.Int64) - 1)
        return people.to_series().to_numpy()

    @cached_property
    def question(self) -> Ints:
        """[C] index of each cell's study, task and scale."""
        parts = pl.struct("study_id", "task_num", "scale")
        return self.cells.select(parts.rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()

    @property
    def positions(self) -> Floats:
        """[C, K] the options normalised to each cell's scale: 0 at its low and 1 at its high end."""
        low, high = self.grid[:, :1], self.grid[:, -1:]
        return (self.grid - low) / (high - low)

    def mean_of_cells(self, values: Floats) -> Floats:
        """[S] mean over the scored (not NaN) cells of each study, from [C]; NaN for a study without any."""
        scored = ~np.isnan(values)
        study, count = self.study[scored], len(self.studies)
        return ratio(np.bincount(study, values[scored], count), np.bincount(study, minlength=count))


@dataclass(frozen=True)
class Predictor:
    """The answer distributions of one predictor, aligned with a :class:`Survey`."""

    name: str  # its key in metrics/evaluate.json
    # [n, k] of each block of the survey, or [1, k] where all its respondents get the same; rows sum to 1.
    blocks: list[NDArray[np.floating]]
    allowed_mass: NDArray[np.float32] | None = None  # [N] put on allowed answers in all; None: 1 by design

    def cells(self, survey: Survey) -> Floats:
        """[C, K] the mean distribution over the respondents of each cell."""
        pmf = np.zeros_like(survey.human)
        for block, probabilities in zip(survey.blocks, self.blocks, strict=True):
            mean = probabilities.mean(axis=0, dtype=np.float64)
            pmf[block.cell, block.columns] += mean * len(block.answers)
        return pmf / survey.respondents[:, None]


def make_survey(rows: pl.DataFrame) -> Survey:
    """The human side of a predictions table without its probabilities, sorted as N."""
    runs = rows.group_by([*CELL, "scale"], maintain_order=True).agg(pl.col("scale_rule").first(), n=pl.len())
    cells = runs.group_by(CELL, maintain_order=True).agg(
        pl.col("scale").str.join(" | "),
        pl.col("scale_rule").first(),
        respondents=pl.col("n").sum().cast(pl.Int64),
        scales=pl.col("scale"),
    )
    known = {name: np.array(parse_scale(name).options, dtype=np.float64) for name in set(runs["scale"])}
    grids = [np.unique(np.concatenate([known[name] for name in scales])) for scales in cells["scales"]]
    sizes = np.array([len(grid) for grid in grids])
    grid = np.array([np.pad(g, (0, sizes.max() - len(g)), mode="edge") for g in grids])
    responses, human, off_grid, blocks = rows["response"].to_numpy(), np.zeros_like(grid), 0, []
    cell_of_run = np.repeat(np.arange(len(cells)), cells["scales"].list.len()).tolist()
    for cell, name, n, stop in zip(cell_of_run, runs["scale"], runs["n"], runs["n"].cum_sum(), strict=True):
        part, options = slice(stop - n, stop), known[name]
        moved = nearest(parse_scale(name), responses[part])
        off_grid += int((moved != responses[part]).sum())
        columns, answers = np.searchsorted(grids[cell], options), np.searchsorted(options, moved)
        positions = (options - options[0]) / (options[-1] - options[0])
        blocks.append(Block(part, cell, positions, columns, answers))
        human[cell, columns] += np.bincount(answers, minlength=len(options))
    studies = sorted(set(cells["study_id"]))
    study = np.searchsorted(studies, cells["study_id"].to_list())
    human /= human.sum(axis=1, keepdims=True)
    return Survey(rows, cells.drop("scales"), studies, study, grid, sizes, human, blocks, off_grid)


def by_text(survey: Survey, texts: pl.DataFrame) -> Survey:
    """The survey with what was read in each block, from KEY and ``text``, an integer that is the same for the same."""
    rows = survey.rows.select(KEY).join(texts, on=KEY, how="left", maintain_order="left")
    codes = rows["text"].fill_null(-1).to_numpy()
    blocks = []
    for block in survey.blocks:
        order = np.argsort(own := codes[block.rows], kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(own[order])) + 1)
        blocks.append(replace(block, texts=tuple(parts) if len(parts) > 1 else ()))
    return replace(survey, blocks=blocks)
