"""Sample, split and the preparation of training groups at the size of the real data.

    python -m benchmarks.data_at_full_size [--runs 3] [--scale 1.0] [--raw FILE]

A table with SocSci210's cardinalities is generated (210 studies, 5,998 cells, 400,491 respondents,
2,901,390 rows, texts of 600 to 700 characters), once with its own rows in the order the download
stage leaves. The two stages run as their users run them; the preparation is what the train stage does
before it loads a model (token ids of train and validation rows, the order of an epoch, the dataset of
passes). Each runs in a process of its own. Wall seconds are medians, CPU seconds those of all threads, memory
is the peak resident set of the process. The tokenizer is Qwen2.5's where ../shared has it, else a small one.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each stage")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the respondents and rows")
    parser.add_argument("--raw", type=Path, help="where the generated table is kept, or lies already")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)  # the preparing process's base folder
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)  # the generating process's output
    arguments = parser.parse_args()
    if arguments.generate:
        write_table(arguments.generate, sort_rows(generate(arguments.scale)))
    elif arguments.prepare:
        print(prepare(arguments.prepare))
    else:
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), arguments.raw, arguments.scale, arguments.runs)


def measure(folder: Path, kept: Path | None, scale: float, runs: int) -> None:
    """Generate the table unless it is kept, run each step in ``folder``, and print the table of results."""
    (folder / "data/raw").mkdir(parents=True)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    generated = (kept or folder / "generated.parquet").resolve()
    this = "benchmarks.data_at_full_size"
    if not generated.exists():
        Run(folder, this, "--generate", str(generated), "--scale", str(scale))
        print(f"generated: {generated.stat().st_size / 2**20:.0f} MiB", flush=True)
    raw = folder / "data/raw/responses.parquet"
    raw.symlink_to(generated)
    base = tokenizer_folder(folder / "base", raw)
    commands = {
        "sample": ["stages.sample"],
        "split": ["stages.split"],
        "prepare": [this, "--prepare", str(base)],
    }
    timed: dict[str, list[Run]] = {step: [] for step in commands}
    for _ in range(runs):
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        for step, command in commands.items():
            timed[step].append(Run(folder, *command))
    print(timed["prepare"][0].output.strip())
    rows = pl.scan_parquet(raw).select(pl.len()).collect().item()
    print(f"| {rows:,} rows | wall, s | CPU, s | peak GiB |\n|---|---|---|---|")
    total = 0.0
    for step, done in timed.items():
        seconds, cpu = (statistics.median(getattr(run, key) for run in done) for key in ("seconds", "cpu"))
        total += seconds
        print(f"| {step} | {seconds:.1f} | {cpu:.1f} | {max(run.gibibytes for run in done):.2f} |")
    print(f"| together | {total:.1f} | | |", flush=True)


def tokenizer_folder(folder: Path, raw: Path) -> Path:
    """A base folder with a tokenizer and no model: the real Qwen2.5 tokenizer, or one trained on a few rows."""
    real = Path(os.environ.get("SOCRATES_SHARED", ROOT.parent / "shared")) / "tokenizers/qwen2.5"
    if real.exists():
        shutil.copytree(real, folder)
        folder.chmod(0o755)
    else:
        from socrates.tiny_model.build import train_tokenizer

        texts = pl.scan_parquet(raw).select("stimuli").head(2_000).collect()["stimuli"].to_list()
        train_tokenizer(texts, 8_192).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    write_json(folder / "manifest.json", {"kind": "builtin"})
    return folder


def prepare(base: Path) -> str:
    """What the train stage does before it loads a model; one line about it."""
    from socrates.runs.token_cache import tokenised
    from socrates.training.collator import shared_dataset
    from socrates.training.schedule import make_schedule

    data = tokenised(
        [Path(f"data/splits/{name}.parquet") for name in ("train", "val")], base, "scenario_first"
    )
    order = make_schedule(np.arange(len(data)), data.scenario_of_row, len(data), 32, seed=42)
    passes = shared_dataset(order, 32)
    return (
        f"prepared: {len(passes):,} passes of {len(data):,} rows, {len(data.scenarios):,} scenarios, "
        f"{len(data.personas):,} personas, {data.lengths().mean():.0f} tokens a row"
    )


class Run:
    """A finished process: its output, wall ``seconds``, ``cpu`` seconds and peak memory in ``gibibytes``."""

    def __init__(self, folder: Path, *command: str) -> None:
        started = time.perf_counter()
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "POLARS_MAX_THREADS": "2",
            "RAYON_NUM_THREADS": "2",
            "OMP_NUM_THREADS": "2",
            "SOCRATES_SCRATCH": str(folder / "scratch"),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        self.output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # its own peak: RUSAGE_CHILDREN keeps the largest of all
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[0]} failed")
        self.seconds = time.perf_counter() - started
        self.cpu = usage.ru_utime + usage.ru_stime
        self.gibibytes = usage.ru_maxrss / 2**20


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
