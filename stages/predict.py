"""predict: the answer distribution of every test respondent, under the base model or the adapter.

Reads data/splits/{train,test}.parquet, models/base/ and, for the adapter, models/adapter/.
Writes data/predictions/<predictor>/ (predictions.parquet, manifest.json). A killed run goes on.
Run: ``python -m stages.predict base`` or ``python -m stages.predict adapter``;
``SOCRATES_PROCESSES=4`` starts four processes.
"""

import sys
from pathlib import Path

from socrates.errors import SocratesError, run
from socrates.launch import launch, part
from socrates.params import load
from socrates.params.model import Model
from socrates.params.predict import Predict
from socrates.params.prompt import Prompt

SPLITS = Path("data/splits")
BASE, ADAPTER = Path("models/base"), Path("models/adapter")
OUT = Path("data/predictions")


def main() -> None:
    if sys.argv[1:] not in (["base"], ["adapter"]):
        raise SocratesError("stages.predict: say which predictor, base or adapter")
    predictor = sys.argv[1]
    model, prompt, predict = load(Model), load(Prompt), load(Predict)
    place = launch("stages.predict", predictor)
    if place is None:
        return
    from socrates.prediction.shards import predict_split

    summary = predict_split(
        SPLITS / "train.parquet",
        SPLITS / "test.parquet",
        BASE,
        ADAPTER if predictor == "adapter" else None,
        OUT / predictor,
        place,
        model,
        prompt,
        predict,
    )
    if place.first:
        print(f"predict {predictor}: {summary}")
    part()


if __name__ == "__main__":
    run(main)
