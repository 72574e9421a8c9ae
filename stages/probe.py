"""probe: some test respondents predicted again by the adapter, with a part of the prompt taken away or turned round.

Reads data/splits/test.parquet, models/base/ and models/adapter/.
Writes data/predictions/probes/PROBE/ (predictions.parquet, manifest.json) of each probe of params.yaml. A killed run
goes on. Run: ``python -m stages.probe``
"""

from functools import partial
from pathlib import Path

from socrates.core.errors import run
from socrates.core.params import load
from socrates.model.params import Model, Prompt
from socrates.prediction.params import Predict
from socrates.runs.launch import cleanup_distributed, launch

TEST = Path("data/splits/test.parquet")
BASE, ADAPTER = Path("models/base"), Path("models/adapter")
OUT = Path("data/predictions/probes")


def main() -> None:
    params = load(Predict)
    sections = load(Model), load(Prompt), params
    process = launch("stages.probe")
    if process is None:
        return
    from socrates.prediction.predict import PredictionInputs, predict_split
    from socrates.prediction.probes import probe_rows, restored

    OUT.mkdir(parents=True, exist_ok=True)
    inputs = PredictionInputs(BASE, ADAPTER, *sections)
    for name in params.probes:
        change = partial(probe_rows, probe=name, max_options=params.max_options)
        summary = predict_split(TEST, inputs, OUT / name, process, change, partial(restored, probe=name))
        if process.is_main:
            print(f"probe {name}: {summary}")
    cleanup_distributed()


if __name__ == "__main__":
    run(main)
