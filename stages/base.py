"""base: make the built-in model, or pin a hub model and fetch it into the hub's cache.

Reads data/splits/train.parquet (built-in only). Writes models/base/.
Run: ``python -m stages.base``
"""

from pathlib import Path

from tqdm import tqdm

from socrates.core.errors import run
from socrates.core.files import atomic_folder, read_table
from socrates.core.params import load
from socrates.model.loading import pin_hub
from socrates.model.params import Model, Prompt
from socrates.survey.tables import SCALED_RESPONSES
from socrates.tiny_model.pretrain import build_builtin

TRAIN = Path("data/splits/train.parquet")
BASE = Path("models/base")


def main() -> None:
    model, prompt = load(Model), load(Prompt)
    with atomic_folder(BASE) as folder:
        if model.builtin:
            summary = build_builtin(
                read_table(TRAIN, SCALED_RESPONSES),
                model,
                prompt.layout,
                folder,
                lambda steps: tqdm(steps, desc="pretrain"),
            )
        else:
            summary = pin_hub(model, folder)
    print(f"base: {summary}")


if __name__ == "__main__":
    run(main)
