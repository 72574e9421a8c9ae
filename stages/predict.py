"""predict: the answer distribution of every test respondent, under the base model or the adapter.

Reads data/splits/test.parquet, models/base/ and, for the adapter, models/adapter/.
Writes data/predictions/<predictor>/ (predictions.parquet, manifest.json). A killed run goes on.
Run: ``python -m stages.predict base`` or ``python -m stages.predict adapter``;
``SOCRATES_PROCESSES=4`` starts four processes.
"""

import sys
from pathlib import Path

from socrates.core.errors import SocratesError, run
from socrates.core.params import load
from socrates.model.params import Model, Prompt
from socrates.prediction.params import Predict
from socrates.runs.launch import cleanup_distributed, launch

TEST = Path("data/splits/test.parquet")
BASE, ADAPTER = Path("models/base"), Path("models/adapter")
OUT = Path("data/predictions")


def main() -> None:
    if sys.argv[1:] not in (["base"], ["adapter"]):
        raise SocratesError("stages.predict: say which predictor, base or adapter")
    name = sys.argv[1]
    sections = load(Model), load(Prompt), load(Predict)
    process = launch("stages.predict", name)
    if process is None:
        return
    from socrates.prediction.predict import PredictionInputs, predict_split

    inputs = PredictionInputs(BASE, ADAPTER if name == "adapter" else None, *sections)
    summary = predict_split(TEST, inputs, OUT / name, process)
    if process.is_main:
        print(f"predict {name}: {summary}")
    cleanup_distributed()


if __name__ == "__main__":
    run(main)
