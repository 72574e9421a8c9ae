"""evaluate: what the attempts show, base against trained, with intervals over problems.

Reads gsm8k/data/test.parquet and gsm8k/data/attempts/{base,trained}.parquet. Writes
gsm8k/metrics/evaluate.json and gsm8k/metrics/problems.csv (each problem's rates, for plots).
Run: ``python -m gsm8k.stages.evaluate``
"""

from pathlib import Path

import polars as pl

from gsm8k.params import Solve, load
from gsm8k.pass_rates import by_problem, summary
from gsm8k.problems import ATTEMPTS, PROBLEMS
from socrates.core.errors import run
from socrates.core.files import read_table, write_json, write_table

TEST = Path("gsm8k/data/test.parquet")
FOLDER = Path("gsm8k/data/attempts")
METRICS = Path("gsm8k/metrics")


def main() -> None:
    solve = load(Solve)
    problems = read_table(TEST, PROBLEMS)
    attempts = pl.concat([read_table(FOLDER / f"{name}.parquet", ATTEMPTS) for name in ("base", "trained")])
    table = by_problem(attempts, problems, solve.pass_at)
    result = summary(table, solve.bootstrap, solve.seed)
    write_table(METRICS / "problems.csv", table)
    write_json(METRICS / "evaluate.json", result)
    for decoding in ("greedy", "sampled"):
        rates = result[decoding]
        base, trained, gain = (rates[side]["exact"] for side in ("base", "trained", "difference"))
        print(
            f"evaluate: {decoding}: exact {base['value']:.3f} -> {trained['value']:.3f} "
            f"(difference {gain['value']:+.3f}, {gain['low']:+.3f} to {gain['high']:+.3f}), "
            f"strict format {rates['trained']['strict_format']['value']:.3f}, {rates['problems']} problems"
        )


if __name__ == "__main__":
    run(main)
