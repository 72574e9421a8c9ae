"""train: reinforce right and well-formed solutions with GRPO.

Reads gsm8k/data/train.parquet and gsm8k/models/base/. Writes gsm8k/models/trained/ (an adapter or a whole
model, tokenizer, training.json) and gsm8k/metrics/train.csv (the curves). Speed, device and process count
go to runs/.
Run: ``python -m gsm8k.stages.train``; ``SOCRATES_PROCESSES=4`` starts four processes.
"""

from pathlib import Path

from gsm8k.grpo.params import Grpo
from gsm8k.params import Rewards, load
from socrates.core.errors import run
from socrates.model.params import Model
from socrates.runs.launch import launch, part
from socrates.runs.params import Run
from socrates.training.job import Job
from socrates.training.params import Deepspeed, Lora

TRAIN = Path("gsm8k/data/train.parquet")
BASE = Path("gsm8k/models/base")
TRAINED = Path("gsm8k/models/trained")
CURVES = Path("gsm8k/metrics/train.csv")


def main() -> None:
    place = launch("gsm8k.stages.train")
    if place is None:
        return
    from gsm8k.train import reinforce

    job = Job(BASE, TRAINED, CURVES, place, load(Model), load(Lora), load(Deepspeed), load(Run))
    summary = reinforce(job, TRAIN, load(Grpo), load(Rewards))
    if place.first:
        print(f"train: {summary}")
    part()


if __name__ == "__main__":
    run(main)
