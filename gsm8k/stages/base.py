"""base: make the built-in model, or pin a hub model and fetch it into the hub's cache.

Reads gsm8k/data/train.parquet (built-in only). Writes gsm8k/models/base/.
Run: ``python -m gsm8k.stages.base``
"""

from pathlib import Path

from tqdm import tqdm

from gsm8k.params import Warmup, load
from gsm8k.problems import PROBLEMS
from gsm8k.warm_start import build_warm_started
from socrates.core.errors import run
from socrates.core.files import atomic_folder, read_table
from socrates.model.loading import pin_hub
from socrates.model.params import Model

TRAIN = Path("gsm8k/data/train.parquet")
BASE = Path("gsm8k/models/base")


def main() -> None:
    model, noise = load(Model), load(Warmup)
    with atomic_folder(BASE) as folder:
        if model.builtin:
            problems = read_table(TRAIN, PROBLEMS)
            summary = build_warm_started(
                problems, model, noise, folder, lambda steps: tqdm(steps, desc="warm up")
            )
        else:
            summary = pin_hub(model, folder)
    print(f"base: {summary}")


if __name__ == "__main__":
    run(main)
