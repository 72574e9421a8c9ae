"""train: fine-tune an NF4 QLoRA adapter on the training studies.

Reads data/splits/{train,val}.parquet and models/base/. Writes models/adapter/ (adapter, tokenizer,
training.json) and metrics/train.csv (the curves). Speed, device and process count go to runs/.
Run: ``python -m stages.train``; ``SOCRATES_PROCESSES=4`` starts four processes.
"""

from pathlib import Path

from socrates.core.errors import run
from socrates.core.params import load
from socrates.model.params import Model, Prompt
from socrates.runs.launch import cleanup_distributed, launch
from socrates.runs.params import Run
from socrates.training.params import Deepspeed, Lora, Train

DATA_FILES = (Path("data/splits/train.parquet"), Path("data/splits/val.parquet"))
BASE = Path("models/base")
ADAPTER = Path("models/adapter")
CURVES = Path("metrics/train.csv")
RUN_LOG = Path("runs/train.jsonl")


def main() -> None:
    process = launch("stages.train")
    if process is None:
        return
    from socrates.training.config import TrainParams, TrainPaths
    from socrates.training.finetune import fine_tune

    paths = TrainPaths(BASE, ADAPTER, CURVES, RUN_LOG)
    params = TrainParams(load(Model), load(Lora), load(Deepspeed), load(Run))
    summary = fine_tune(paths, DATA_FILES, params, load(Prompt), load(Train), process)
    if process.is_main:
        print(f"train: {summary}")
    cleanup_distributed()


if __name__ == "__main__":
    run(main)
