"""Sample, split, two baselines and tokenisation at the size of the real data.

    python -m benchmarks.data_at_full_size [--runs 3] [--scale 1.0] [--tokenizer FOLDER]

A table with SocSci210's cardinalities is generated (210 studies, 5,998 cells, 400,491 respondents, 2,901,390 rows,
texts of 600 to 700 characters), once with its own rows in the order the download stage leaves. Then the stages
``sample``, ``split`` and ``baseline`` and ``socrates prepare`` run as their users run them, each in a process of its
own. Wall seconds are medians, CPU seconds those of all threads, memory is the peak resident set of the process.
Without ``--tokenizer`` a small one is trained on some of the texts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from socrates.core.files import write_json, write_table
from socrates.data.studies import sort_rows
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES

ROOT = Path(__file__).resolve().parents[1]
STUDIES, CELLS, PEOPLE, ROWS = 210, 5_998, 400_491, 2_901_390
WORDS = (
    "city school doctor policy neighbour income vote candidate fair trust news report family letter price wage "
    "company harvest river council teacher budget visit choice travel energy union program signal record"
)
COMMANDS = {
    "sample": ["stages.sample"],
    "split": ["stages.split"],
    **{f"baseline {name}": ["stages.baseline", name] for name in ("words_demographics", "nearest")},
    "prepare": ["socrates", "prepare"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each step")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the respondents and rows")
    parser.add_argument("--tokenizer", type=Path, help="a folder to read one from")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), arguments.scale, arguments.runs, arguments.tokenizer)


def measure(folder: Path, scale: float, runs: int, tokenizer: Path | None) -> None:
    """Generate the table, run each step in ``folder``, and print the table of results."""
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    raw = sort_rows(generate(scale))
    write_table(folder / "data/raw/responses.parquet", raw)
    base = folder / "models/base"
    if tokenizer:
        shutil.copytree(tokenizer, base, copy_function=shutil.copyfile)
    else:
        from socrates.tiny_model.build import train_tokenizer

        train_tokenizer(raw["stimuli"].head(2_000).to_list(), 8_192).save_pretrained(base)
    (base / "config.json").write_text('{"model_type": "qwen2"}')
    write_json(base / "manifest.json", {"kind": "builtin"})
    timed: dict[str, list[tuple[float, float, float]]] = {step: [] for step in COMMANDS}
    for _ in range(runs):
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        for step, command in COMMANDS.items():
            timed[step].append(run(folder, *command))
    print(f"| {len(raw):,} rows | wall, s | CPU, s | peak GiB |\n|---|---|---|---|")
    for step, done in timed.items():
        wall, cpu = (statistics.median(column) for column in list(zip(*done, strict=True))[:2])
        print(f"| {step} | {wall:.1f} | {cpu:.1f} | {max(gibibytes for _, _, gibibytes in done):.2f} |")


def run(folder: Path, *command: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in GiB of a module run in ``folder``."""
    started = time.perf_counter()
    threads = dict.fromkeys(("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"), "2")
    own = {"PYTHONPATH": str(ROOT), "SOCRATES_SCRATCH": str(folder / "scratch")}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | own | threads,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)  # its own peak: RUSAGE_CHILDREN keeps the largest of all
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def generate(scale: float, seed: int = 0) -> pl.DataFrame:
    """A ``RESPONSES`` table with the real one's cardinalities, in random row order.

    Half of the studies have one text a cell, most others ten, and one in twenty is a conjoint design
    in which nearly every respondent reads a text of their own.
    """
    random = np.random.default_rng(seed)
    cells_of = _parts(CELLS, STUDIES, random)
    people_of = np.maximum(_parts(int(PEOPLE * scale), STUDIES, random), 2)
    rows_of = np.maximum((people_of * (ROWS / PEOPLE)).round().astype(int), cells_of)
    rows_of[-1] = max(int(ROWS * scale) - rows_of[:-1].sum(), cells_of[-1])
    filler = " ".join(random.choice(WORDS.split(), 20_000))
    tables = []
    for number in range(STUDIES):
        tasks = max(1, round(cells_of[number] ** 0.5))
        size = int(rows_of[number])
        participant = np.arange(size) % people_of[number]
        cell = np.concatenate([np.arange(cells_of[number]), random.integers(cells_of[number], size=size)])[
            :size
        ]
        variants = 1 if number % 2 else 2_000 if number % 20 == 0 else 10
        code = cell * variants + random.integers(variants, size=size)
        distinct, text = np.unique(code, return_inverse=True)
        texts = pl.Series([_text(filler, number, int(c) // variants, int(c) % variants) for c in distinct])
        tables.append(
            pl.DataFrame(
                {
                    "study_id": pl.repeat(f"s{number:04d}", size, eager=True),
                    "sample_id": random.permutation(size),
                    "participant": participant,
                    "condition_num": cell // tasks,
                    "task_num": cell % tasks,
                    "demographic": _demographics(int(people_of[number]), random)[participant],
                    "stimuli": texts[text],
                    "response": random.integers(1, 8, size),
                },
                schema_overrides={name: kind for name, kind in RESPONSES.items() if kind == pl.Int64},
            ).select(*RESPONSES)
        )
    return pl.concat(tables)


def _parts(total: int, parts: int, random: np.random.Generator) -> np.ndarray:
    """``total`` in ``parts`` unequal positive integers."""
    share = random.gamma(2.0, size=parts)
    counted = np.maximum(1, np.floor(share / share.sum() * (total - parts)).astype(int))
    counted[counted.argmax()] += total - counted.sum()
    return counted


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
