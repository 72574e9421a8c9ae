"""Compare the predictions of every predictor with the people they predict, and with baselines.

Reads:   params ``evaluate``; each folder NAME of data/predictions/: predictions.parquet (a file, or a folder
         of such files) and manifest.json; data/predictions/probes/;
         data/splits/train.parquet (for the training-study average); data/splits/test.parquet (the cells whose
         text resembles one of training, and who read the same text); data/raw/person_truth.parquet if there is one
Writes:  metrics/evaluate.json       every figure with its interval, one scalar per key
         metrics/headline.json       the few of them that DVC's tables show
         metrics/tables/*.csv        by cell, study, condition effect, group; distributions of a few cells
Command: python -m stages.evaluate
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from socrates.core import errors, files
from socrates.core.errors import DataError
from socrates.core.params import load
from socrates.evaluation.cells import KEY
from socrates.evaluation.evaluate import evaluate
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictors import PROBES, predicted
from socrates.evaluation.summary import headline
from socrates.prediction.params import Predict
from socrates.survey import tables

PREDICTIONS = Path("data/predictions")
TRAIN = Path("data/splits/train.parquet")
TEST = Path("data/splits/test.parquet")
TRUTH = Path("data/raw/person_truth.parquet")
METRICS = Path("metrics")


def main() -> None:
    params = load(Evaluate)
    paths = {name: PREDICTIONS / name / "predictions.parquet" for name in predicted(PREDICTIONS)}
    for name in old_baselines(paths, load(Predict).baselines):
        print(f"evaluate: {PREDICTIONS / name} is left out: predict.baselines does not name it any more")
        del paths[name]
    probes = {str(name): PREDICTIONS / PROBES / name / "predictions.parquet" for name in load(Predict).probes}
    predictions, asked = (
        {name: files.read_table(path, tables.PREDICTIONS) for name, path in some.items()}
        for some in (paths, probes)
    )
    told = paths | {f"probe {name}": path for name, path in probes.items()}
    excluded = {name: read_excluded(path.with_name("manifest.json")) for name, path in told.items()}
    columns = ("study_id", "scale", "response")
    train = files.read_table(TRAIN, {name: tables.SCALED_RESPONSES[name] for name in columns})
    kinds = {name: tables.RESPONSES[name] for name in (*tables.CELL, "sample_id", "stimuli")}
    test = files.read_table(TEST, {**kinds, "near_duplicate": pl.Boolean})
    texts = test.select(*KEY, text=pl.col("stimuli").rank("dense").cast(pl.Int64))
    flagged = test.filter("near_duplicate").select(tables.CELL).unique()
    truth = files.read_table(TRUTH, tables.PERSON_TRUTH) if TRUTH.exists() else None
    result = evaluate(
        predictions, paths, train.drop_nulls(), truth, excluded, params,
        best_baseline(paths), flagged, asked, texts, load(Predict).max_options,
    )  # fmt: skip

    with files.atomic_folder(METRICS / "tables") as folder:
        for name, table in result.tables.items():
            files.write_table(folder / f"{name}.csv", table)
    files.write_json(METRICS / "evaluate.json", result.metrics)
    files.write_json(METRICS / "headline.json", headline(result.metrics))
    print(result.summary)


def validation_scores(paths: Mapping[str, Path]) -> dict[str, float]:
    """baseline -> its score on the validation studies, which no other predictor's manifest has."""
    manifests = {
        name: files.read_json(path.with_name("manifest.json"), "run predict") for name, path in paths.items()
    }
    return {name: told["validation_rps"] for name, told in manifests.items() if "validation_rps" in told}


def old_baselines(paths: Mapping[str, Path], wanted: Sequence[str]) -> list[str]:
    """Baselines of an earlier ``predict.baselines``: their folders stay, and may be of another test split."""
    return [name for name in validation_scores(paths) if name not in wanted]


def best_baseline(paths: Mapping[str, Path]) -> str | None:
    """The baseline of the primary comparison: the least validation score; None where there is none.

    Where other answers of the studies are in training, whoever copies them is the opponent.
    """
    scores = validation_scores(paths)
    copies = {name: score for name, score in scores.items() if name.startswith("other_")}
    return min(copies or scores, key=lambda name: (scores[name], name), default=None)


def read_excluded(path: Path) -> dict[str, int]:
    """The rows that a predictor could not score, by reason, from its manifest."""
    manifest = files.read_json(path, "run predict")
    try:
        return {str(reason): int(count) for reason, count in sorted(manifest["excluded"].items())}
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{path}: expected a count of rows per reason under 'excluded'; run predict again"
        raise DataError(message) from None


if __name__ == "__main__":
    errors.run(main)
