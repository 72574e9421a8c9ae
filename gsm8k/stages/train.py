"""train: reinforce right and well-formed solutions with GRPO.

Reads gsm8k/data/train.parquet and gsm8k/models/base/. Writes gsm8k/models/trained/ (an adapter or a whole model,
tokenizer, training.json) and gsm8k/metrics/train.csv (the curves). ``SOCRATES_PROCESSES=4`` starts four processes.
"""

from pathlib import Path

from gsm8k.params import BASE, METRICS, TRAINED, Grpo, Rewards, load
from socrates.core.errors import run
from socrates.model.params import Model
from socrates.runs.launch import cleanup_distributed, launch
from socrates.runs.params import Run
from socrates.training.params import Deepspeed, Lora


def main() -> None:
    process = launch("gsm8k.stages.train")
    if process is None:
        return
    from gsm8k.grpo import train_grpo
    from socrates.training.config import TrainParams, TrainPaths

    paths = TrainPaths(BASE, TRAINED, METRICS / "train.csv", Path("runs/gsm8k.jsonl"))
    params = TrainParams(load(Model), load(Lora), load(Deepspeed), load(Run))
    summary = train_grpo(paths, params, load(Grpo), load(Rewards), process)
    if process.is_main:
        print(f"train: {summary}")
    cleanup_distributed()


if __name__ == "__main__":
    run(main)
