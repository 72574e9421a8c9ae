"""fewshot: the base model asked again, told how people answered the most similar training questions.

Reads data/splits/{train,test}.parquet, models/base/ and, for the same rows, data/predictions/base/.
Writes data/predictions/base_fewshot/ (predictions.parquet, manifest.json). A killed run goes on.
Run: ``python -m stages.fewshot``
"""

from pathlib import Path

import polars as pl

from socrates.core.errors import run
from socrates.core.files import read_table
from socrates.core.params import load
from socrates.model.params import Model, Prompt
from socrates.prediction.params import Predict
from socrates.runs.launch import cleanup_distributed, launch
from socrates.survey.tables import SCALED_RESPONSES

TRAIN, TEST, BASE = Path("data/splits/train.parquet"), Path("data/splits/test.parquet"), Path("models/base")
ASKED = Path("data/predictions/base/predictions.parquet")
OUT = Path("data/predictions/base_fewshot")
KEY = ("study_id", "sample_id")


def main() -> None:
    params = load(Predict)
    # Which rows are short enough was decided without the examples.
    sections = load(Model), load(Prompt).model_copy(update={"max_length": 2**20}), params
    process = launch("stages.fewshot")
    if process is None:
        return
    from socrates.baselines.questions import with_examples
    from socrates.prediction.predict import PredictionInputs, predict_split

    asked = read_table(ASKED, {name: SCALED_RESPONSES[name] for name in KEY})
    train = read_table(TRAIN, {name: SCALED_RESPONSES[name] for name in ("stimuli", "scale", "response")})

    def told(table: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        rows = table.join(asked, on=KEY, how="semi", maintain_order="left")
        short = {"not predicted by the base model": table.height - rows.height}
        return with_examples(rows, train.drop_nulls("scale"), params.examples), short

    inputs = PredictionInputs(BASE, None, *sections)
    summary = predict_split(TEST, inputs, OUT, process, (told, lambda table: table))
    if process.is_main:
        print(f"predict base_fewshot: {summary}")
    cleanup_distributed()


if __name__ == "__main__":
    run(main)
