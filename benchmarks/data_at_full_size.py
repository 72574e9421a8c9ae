"""Sample, split, two baselines and tokenisation at the size of the real data.

    python -m benchmarks.data_at_full_size [--runs 3] [--scale 1.0] [--tokenizer FOLDER]

A table with SocSci210's cardinalities is generated (210 studies, 5,998 cells, 400,491 respondents, 2,901,390 rows,
texts of 600 to 700 characters), once with its own rows in the order the download stage leaves. Then the stages
``sample``, ``split`` and ``baseline`` run as their users run them, and the tokenisation of ``train``, each in a
process of its own. Wall seconds are medians, CPU seconds those of all threads, memory is the peak resident set.
Without ``--tokenizer`` a small one is trained on some of the texts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import table
from socrates.core.files import write_json, write_table
from socrates.data.studies import sort_rows
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES
from socrates.tiny_model.build import train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
STUDIES, CELLS, PEOPLE, ROWS = 210, 5_998, 400_491, 2_901_390
WORDS = (
    "city school doctor policy neighbour income vote candidate fair trust news report family letter price wage "
    "company harvest river council teacher budget visit choice travel energy union program signal record"
)
TOKENISE = """from pathlib import Path; from socrates.runs.token_cache import tokenised
for names in (["train", "val"], ["test"]):
    tokenised([Path(f"data/splits/{name}.parquet") for name in names], Path("models/base"), "scenario_first")"""
COMMANDS = {
    "sample": ["-m", "stages.sample"],
    "split": ["-m", "stages.split"],
    **{f"baseline {name}": ["-m", "stages.baseline", name] for name in ("words_demographics", "nearest")},
    "tokenise": ["-c", TOKENISE],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each step")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the respondents and rows")
    parser.add_argument("--tokenizer", type=Path, help="a folder to read one from")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, base = Path(name), Path(name) / "models/base"
        shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
        raw = sort_rows(generate(given.scale))
        write_table(folder / "data/raw/responses.parquet", raw)
        if given.tokenizer:
            shutil.copytree(given.tokenizer, base, copy_function=shutil.copyfile)
        else:
            train_tokenizer(raw["stimuli"].head(2_000).to_list(), 8_192).save_pretrained(base)
        (base / "config.json").write_text('{"model_type": "qwen2"}')
        write_json(base / "manifest.json", {"kind": "builtin"})
        taken: dict[str, list[tuple[float, float, float]]] = {step: [] for step in COMMANDS}
        for _ in range(given.runs):
            shutil.rmtree(folder / "scratch", ignore_errors=True)
            for step, command in COMMANDS.items():
                taken[step].append(run(folder, *command))
    lines = [[step, *np.median(done, axis=0)[:2], np.max(done, axis=0)[2]] for step, done in taken.items()]
    print(table([f"{len(raw):,} rows", "wall, s", "CPU, s", "peak GiB"], lines))


def run(folder: Path, *command: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in GiB of Python with these arguments in ``folder``."""
    started = time.perf_counter()
    threads = dict.fromkeys(("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"), "2")
    own = {"PYTHONPATH": str(ROOT), "SOCRATES_SCRATCH": str(folder / "scratch")}
    words, env = [sys.executable, *command], os.environ | own | threads
    process = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # its own peak: RUSAGE_CHILDREN keeps the largest of all
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[1]} failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def generate(scale: float) -> pl.DataFrame:
    """A ``RESPONSES`` table with the real one's cardinalities, in random row order.

    Half of the studies have one text a cell, most others ten, and one in twenty is a conjoint design
    in which nearly every respondent reads a text of their own.
    """
    random = np.random.default_rng(0)
    count, people = int(ROWS * scale), int(PEOPLE * scale)
    cells_of = 1 + random.multinomial(CELLS - STUDIES, random.dirichlet(np.full(STUDIES, 2.0)))
    study_of = random.choice(STUDIES, people, p=random.dirichlet(np.full(STUDIES, 2.0)))
    person = random.permutation(np.append(np.arange(people), random.integers(people, size=count - people)))
    study = study_of[person]
    cell = random.integers(cells_of[study])
    tasks = np.sqrt(cells_of).round().astype(int)[study]
    variants = np.where(study % 2, 1, np.where(study % 20, 10, 2_000))
    texts, text = np.unique(np.stack([study, cell, random.integers(variants)]), axis=1, return_inverse=True)
    filler = " ".join(random.choice(WORDS.split(), 20_000))
    stimuli = pl.Series([_text(filler, *map(int, key)) for key in texts.T])
    columns = {
        "study_id": pl.Series([f"s{number:04d}" for number in range(STUDIES)])[study],
        "sample_id": np.arange(count),
        "participant": person,
        "condition_num": cell // tasks,
        "task_num": cell % tasks,
        "demographic": _demographics(people, random)[person],
        "stimuli": stimuli[text.ravel()],
        "response": random.integers(1, 8, count),
    }
    return pl.DataFrame(columns).select(*RESPONSES)


def _text(filler: str, study: int, cell: int, variant: int) -> str:
    start = (study * 97) % 15_000
    other = (study * 31 + cell * 17 + variant * 7) % 15_000
    return (
        f"In study {study} you read: {filler[start : start + 400]}. Version {cell}, reader {variant}: "
        f"{filler[other : other + 120 + (variant + cell) % 60]}. How much do you agree? "
        "Only return an integer from 1 to 7, nothing else."
    )


def _demographics(people: int, random: np.random.Generator) -> pl.Series:
    """Struct of the persona's fields for ``people`` respondents; about a third of the values null."""
    fields = [pl.Series("age", random.integers(18, 90, people)).cast(pl.String)]
    for field in list(DEMOGRAPHICS)[1:]:
        answers = pl.Series(field, [f"{field.replace('_', ' ')} answer {n}" for n in range(7)] + [None] * 3)
        fields.append(answers[random.integers(10, size=people)])
    return pl.DataFrame(fields).to_struct("demographic")


if __name__ == "__main__":
    main()
