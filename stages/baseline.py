"""Predict the test respondents with a baseline that reads the question without a language model.

Reads:   params ``predict``; data/splits/{train,val,test}.parquet
Writes:  data/predictions/NAME/    predictions.parquet, manifest.json (with what was chosen on validation studies)
Command: python -m stages.baseline words_demographics
"""

import sys
from pathlib import Path

import numpy as np

from socrates.baselines.fit import fit_baseline, ranked_probability_score
from socrates.core.errors import DataError, SocratesError, run
from socrates.core.files import atomic_folder, read_table, write_json, write_table
from socrates.core.params import load
from socrates.prediction.params import Predict
from socrates.prediction.table import predictions_table, thin_scales
from socrates.survey.tables import SCALED_RESPONSES

SPLITS = Path("data/splits")
OUT = Path("data/predictions")


def main() -> None:
    if len(sys.argv) != 2:
        raise SocratesError("stages.baseline: say which baseline, such as words_demographics")
    name = sys.argv[1]
    params = load(Predict)
    train, validation, test = (
        thin_scales(read_table(SPLITS / f"{split}.parquet", SCALED_RESPONSES), params)
        for split in ("train", "val", "test")
    )
    if validation[0].is_empty():
        raise DataError(
            f"{SPLITS}/val.parquet: no row has a known answer scale, so that no baseline can be chosen"
        )
    fitted = fit_baseline(name, train[0], validation[0])
    score = ranked_probability_score(validation[0], fitted.predict(validation[0]))
    predicted = fitted.predict(test[0])
    shares = np.concatenate(predicted).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in predicted])])
    all_mass = np.ones(len(predicted), np.float32)  # on allowed answers
    table, manifest = predictions_table(test[0], shares, offsets, all_mass, test[1])
    with atomic_folder(OUT / name) as folder:
        write_table(folder / "predictions.parquet", table)
        told = {"validation_rps": round(score, 9), **fitted.settings, **manifest}
        write_json(folder / "manifest.json", told)
    chosen = ", ".join(f"{key} {value}" for key, value in fitted.settings.items())
    print(f"baseline {name}: {table.height:,} rows, {chosen} -> {OUT / name}")


if __name__ == "__main__":
    run(main)
