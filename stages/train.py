"""train: fine-tune an NF4 QLoRA adapter on the training studies.

Reads data/splits/{train,val}.parquet and models/base/. Writes models/adapter/ (adapter, tokenizer,
training.json) and metrics/train.csv (the curves). Speed, device and process count go to runs/.
Run: ``python -m stages.train``; ``SOCRATES_PROCESSES=4`` starts four processes.
"""

from pathlib import Path

import polars as pl

from socrates.core.errors import run
from socrates.core.params import load
from socrates.model.params import Model, Prompt
from socrates.runs.launch import launch, part
from socrates.runs.params import Run
from socrates.runs.progress import table
from socrates.training.job import Job
from socrates.training.params import Deepspeed, Lora, Train

SPLITS = Path("data/splits")
BASE = Path("models/base")
ADAPTER = Path("models/adapter")
CURVES = Path("metrics/train.csv")


def main() -> None:
    place = launch("stages.train")
    if place is None:
        return
    job = Job(BASE, ADAPTER, CURVES, place, load(Model), load(Lora), load(Deepspeed), load(Run))
    train_file, val_file = SPLITS / "train.parquet", SPLITS / "val.parquet"
    prompt, train = load(Prompt), load(Train)
    from socrates.training.finetune import fine_tune

    summary = fine_tune(job, (train_file, val_file), prompt, train)
    if place.first:
        print(table(pl.read_csv(CURVES, infer_schema_length=None)))
        print(f"train: {summary}")
    part()


if __name__ == "__main__":
    run(main)
