"""predict: the answer distribution of every test respondent, under the base model or the adapter.

Reads data/splits/{train,test}.parquet, models/base/ and, for the adapter, models/adapter/.
Writes data/predictions/<predictor>/ (predictions.parquet, manifest.json).
Run: ``python -m stages.predict base`` or ``python -m stages.predict adapter``
"""

import sys
from pathlib import Path

from tqdm import tqdm

from socrates.errors import SocratesError, run
from socrates.files import atomic_folder, write_json, write_table
from socrates.params import load
from socrates.params.model import Model
from socrates.params.predict import Predict
from socrates.params.prompt import Prompt
from socrates.survey.tables import RESPONSES, read_table

SPLITS = Path("data/splits")
BASE, ADAPTER = Path("models/base"), Path("models/adapter")
OUT = Path("data/predictions")


def main() -> None:
    if sys.argv[1:] not in (["base"], ["adapter"]):
        raise SocratesError("stages.predict: say which predictor, base or adapter")
    predictor = sys.argv[1]
    model, prompt, predict = load(Model), load(Prompt), load(Predict)
    train = read_table(SPLITS / "train.parquet", RESPONSES)
    test = read_table(SPLITS / "test.parquet", RESPONSES)
    from socrates.prediction.predict import predict_table

    predictions, manifest = predict_table(
        test, train, BASE, ADAPTER if predictor == "adapter" else None, model, prompt, predict,
        lambda batches: tqdm(batches, desc=f"predict {predictor}", unit="batch"),
    )
    with atomic_folder(OUT / predictor) as folder:
        write_table(folder / "predictions.parquet", predictions)
        write_json(folder / "manifest.json", manifest)
    excluded = ", ".join(f"{reason} {count}" for reason, count in manifest["excluded"].items() if count)
    print(f"predict {predictor}: {len(predictions):,} of {len(test):,} rows; excluded: {excluded or 'none'}")


if __name__ == "__main__":
    run(main)
