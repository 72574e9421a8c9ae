"""Everything a report is made from, read once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from socrates.core.errors import DataError
from socrates.core.files import read_json, read_table
from socrates.core.params import flat, read_yaml
from socrates.evaluation.intervals import Estimate
from socrates.evaluation.predictors import MODELS, PRIMARY, ordered, predicted
from socrates.survey.tables import CELL, RESPONSES

TABLES = ("cells", "cell_scores", "studies", "distributions", "effects", "pit", "group_gaps")
# What the rows of a table do not tell: a study's name may look like a number, and a table may have no row.
TYPES = {
    **dict.fromkeys(("study_id", "group", "attribute", "predictor"), pl.String),
    **dict.fromkeys(("condition_num", "task_num"), pl.Int64),
    **dict.fromkeys(("wasserstein", "accuracy", "probability", *MODELS, "human", "human_se"), pl.Float64),
}


@dataclass(frozen=True)
class Results:
    """What the evaluation found, and what the paper did."""

    # of each part of metrics/evaluate.json (``adapter``, ``counts`` ...) by dotted key
    metrics: dict[str, dict[str, Any]]
    paper: dict[str, dict[str, Any]]  # the same of metrics/paper.json, with words under ``source``
    published: tuple[dict[str, Any], ...]  # its rows of all four splits

    def estimate(self, part: str, key: str = "wasserstein") -> Estimate:
        """A figure of ``adapter``, ``adapter_minus_base`` ... with its interval."""
        figures = self.metrics.get(part, {})
        return Estimate(figures.get(key), figures.get(f"{key}_low"), figures.get(f"{key}_high"))

    @property
    def model(self) -> str:
        """What is evaluated: the fine-tuned model, or the base model where nothing was trained."""
        return next((name for name in MODELS if name in self.metrics), "base")

    @property
    def primary(self) -> str:
        """The key of the comparison that decides."""
        return f"{self.model}_minus_{PRIMARY}"

    @property
    def predictors(self) -> list[str]:
        """Every predictor and baseline that was evaluated, in order."""
        scored = (name for name, part in self.metrics.items() if "wasserstein" in part)
        return ordered(name for name in scored if "_minus_" not in name)

    def count(self, key: str) -> float:
        """A count of the evaluation; 0 where it is not given."""
        return self.metrics.get("counts", {}).get(key) or 0


@dataclass(frozen=True)
class Report(Results):
    """The inputs of a report; where nothing was trained ``training`` and ``curves`` are empty."""

    tables: dict[str, pl.DataFrame]  # metrics/tables/, by name
    curves: pl.DataFrame  # metrics/train.csv
    questions: pl.DataFrame  # CELL, ``text`` (the commonest wording) and ``wordings`` (how many there are)
    raw: dict[str, Any]  # as splits, training and base: the manifest of that stage
    splits: dict[str, Any]
    predictions: dict[str, dict[str, Any]]  # the manifests of data/predictions/, the fine-tuned model's first
    training: dict[str, Any]
    base: dict[str, Any]
    params: dict[str, Any]  # params.yaml as it stands, without the section ``run``, which shapes no result

    @property
    def synthetic(self) -> bool:
        return bool(self.raw.get("source") == "synthetic")


def read_report(folder: Path) -> Report:
    """Read a report's inputs from a project folder. Raises :class:`DataError` for a file that cannot be read."""
    metrics, data, predictions = folder / "metrics", folder / "data", folder / "data/predictions"
    training = folder / "models/adapter/training.json"
    trained, params = training.exists(), read_yaml(folder / "params.yaml")
    return Report(
        **vars(read_results(folder)),
        tables={name: read_csv(metrics / "tables" / f"{name}.csv") for name in TABLES},
        curves=read_csv(metrics / "train.csv") if trained else pl.DataFrame(),
        questions=read_questions(data / "splits/test.parquet"),
        raw=read_json(data / "raw/manifest.json"),
        splits=read_json(data / "splits/manifest.json"),
        predictions={
            name: read_json(predictions / name / "manifest.json") for name in predicted(predictions)
        },
        training=read_json(training) if trained else {},
        base=read_json(folder / "models/base/manifest.json"),
        params={name: section for name, section in params.items() if name != "run"},
    )


def read_results(folder: Path) -> Results:
    """The figures of a project folder: two small files in Git. Raises :class:`DataError` where one is missing."""
    found, paper = (read_json(folder / "metrics" / f"{name}.json") for name in ("evaluate", "paper"))
    published = tuple(paper.pop("published", {}).values())
    return Results(_parts(found), _parts(paper), published)


def _parts(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part: dict(flat(inner)) for part, inner in tree.items() if isinstance(inner, Mapping)}


def read_csv(path: Path) -> pl.DataFrame:
    """A table that the pipeline wrote as CSV. Raises :class:`DataError` where there is none."""
    try:
        return pl.read_csv(path, schema_overrides=TYPES, infer_schema_length=None)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run dvc repro") from None
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: not a readable CSV ({' '.join(str(error).split())})") from None


def read_questions(path: Path) -> pl.DataFrame:
    """The commonest text of every cell (the first in the alphabet of equally common ones)."""
    rows = read_table(path, {name: RESPONSES[name] for name in (*CELL, "stimuli")})
    return (
        rows.group_by(*CELL, "stimuli")
        .len()
        .sort(*CELL, "len", "stimuli", descending=[False, False, False, True, False])
        .group_by(CELL, maintain_order=True)
        .agg(pl.col("stimuli").first().alias("text"), pl.len().alias("wordings"))
    )
