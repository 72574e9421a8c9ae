"""base: make the built-in model, or pin a hub model and fetch it into the hub's cache.

Reads data/splits/train.parquet and, where the source wrote them, data/raw/corpus.parquet (texts to
read) and data/raw/quiz.parquet (what to know afterwards); built-in only. Writes models/base/.
Run: ``python -m stages.base``
"""

from pathlib import Path

import polars as pl

from socrates.core.errors import run
from socrates.core.files import atomic_folder, read_table
from socrates.core.params import load
from socrates.model.loading import pin
from socrates.model.params import Model, Prompt
from socrates.survey.tables import SCALED_RESPONSES
from socrates.tiny_model.pretrain import build_builtin

TRAIN = Path("data/splits/train.parquet")
CORPUS, QUIZ = Path("data/raw/corpus.parquet"), Path("data/raw/quiz.parquet")
BASE = Path("models/base")


def main() -> None:
    model, prompt = load(Model), load(Prompt)
    with atomic_folder(BASE) as folder:
        if model.builtin:
            table = read_table(TRAIN, SCALED_RESPONSES)
            summary = build_builtin(table, model, prompt.layout, folder, *read_corpus())
        else:
            summary = pin(model, folder)
    print(f"base: {summary}")


def read_corpus() -> tuple[list[str], pl.DataFrame | None]:
    """The texts that the source wrote beside the responses, and what to know of them; none where it wrote none."""
    if not CORPUS.exists():
        return [], None
    return pl.read_parquet(CORPUS)["text"].to_list(), pl.read_parquet(QUIZ)


if __name__ == "__main__":
    run(main)
