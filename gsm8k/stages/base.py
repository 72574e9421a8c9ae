"""base: make the built-in model, or pin a hub model and fetch it into the hub's cache.

Reads gsm8k/data/train.parquet (built-in only). Writes gsm8k/models/base/.
"""

from gsm8k.params import BASE, TRAIN, Warmup, load
from gsm8k.problems import PROBLEMS
from gsm8k.warm_start import build_warm_started
from socrates.core.errors import run
from socrates.core.files import atomic_folder, read_table
from socrates.model.loading import pin
from socrates.model.params import Model


def main() -> None:
    model, noise = load(Model), load(Warmup)
    with atomic_folder(BASE) as folder:
        if model.builtin:
            summary = build_warm_started(read_table(TRAIN, PROBLEMS), model, noise, folder)
        else:
            summary = pin(model, folder)
    print(f"base: {summary}")


if __name__ == "__main__":
    run(main)
