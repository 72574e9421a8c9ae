"""predict: the answer distribution of every test respondent, under the base model or the adapter.

Reads data/splits/test.parquet, models/base/ and, for the adapter, models/adapter/; to calibrate the same predictions
data/splits/{train,val}.parquet. Writes data/predictions/<predictor>/ (predictions.parquet, manifest.json) and
data/predictions/<predictor>_calibrated/ (besides what was predicted of validation/). A killed run goes on.
Run: ``python -m stages.predict base`` or ``python -m stages.predict adapter``;
``SOCRATES_PROCESSES=4`` starts four processes.
"""

import sys
from pathlib import Path

from socrates.core.errors import SocratesError, run
from socrates.core.files import read_json, read_table, write_json, write_table
from socrates.core.params import load
from socrates.model.params import Model, Prompt
from socrates.prediction.calibration import calibrate, some_of_each_cell
from socrates.prediction.params import Predict
from socrates.runs.launch import cleanup_distributed, launch
from socrates.survey.tables import PREDICTIONS, SCALED_RESPONSES

TRAIN, VALIDATION, TEST = (Path(f"data/splits/{name}.parquet") for name in ("train", "val", "test"))
BASE, ADAPTER = Path("models/base"), Path("models/adapter")
OUT = Path("data/predictions")


def main() -> None:
    if sys.argv[1:] not in (["base"], ["adapter"]):
        raise SocratesError("stages.predict: say which predictor, base or adapter")
    name = sys.argv[1]
    params = load(Predict)
    sections = load(Model), load(Prompt), params
    process = launch("stages.predict", name)
    if process is None:
        return
    from socrates.prediction.predict import PredictionInputs, predict_split

    inputs = PredictionInputs(BASE, ADAPTER if name == "adapter" else None, *sections)
    calibrated = OUT / f"{name}_calibrated"
    calibrated.mkdir(parents=True, exist_ok=True)
    predict_split(VALIDATION, inputs, calibrated / "validation", process, some_of_each_cell)
    summary = predict_split(TEST, inputs, OUT / name, process)
    if process.is_main:
        print(f"predict {name}: {summary}")
        print(f"predict {name}_calibrated: {write_calibrated(OUT / name, calibrated, params.max_options)}")
    cleanup_distributed()


def write_calibrated(model: Path, calibrated: Path, max_options: int) -> str:
    """Calibrate the predictions in the folder ``model``; returns one line about it."""
    columns = {key: SCALED_RESPONSES[key] for key in ("study_id", "scale", "response")}
    predictions, chosen = calibrate(
        read_table(calibrated / "validation/predictions.parquet", PREDICTIONS),
        read_table(model / "predictions.parquet", PREDICTIONS),
        read_table(TRAIN, columns),
        max_options,
    )
    write_table(calibrated / "predictions.parquet", predictions)
    write_json(calibrated / "manifest.json", chosen | read_json(model / "manifest.json"))
    return (
        f"temperature {chosen['temperature']:.3f}, {chosen['marginal_weight']:.3f} of the training average; "
        f"log score of {chosen['validation_answers']:,} validation answers {chosen['validation_log_score']:.4f}, "
        f"uncorrected {chosen['validation_log_score_uncorrected']:.4f}, "
        f"of the training average {chosen['validation_log_score_average']:.4f}"
    )


if __name__ == "__main__":
    run(main)
