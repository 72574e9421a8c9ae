"""evaluate: what the attempts show, base against trained, with intervals over problems, and the page that says so.

Reads gsm8k/data/test.parquet, gsm8k/data/attempts/{base,trained}.parquet and gsm8k/models/trained/training.json.
Writes gsm8k/metrics/evaluate.json and gsm8k/metrics/report.md.
"""

import polars as pl

from gsm8k.params import ATTEMPTS, METRICS, TEST, TRAINED, Solve, load
from gsm8k.pass_rates import summary
from gsm8k.problem_report import headline, render
from gsm8k.problems import COMPLETIONS, PROBLEMS
from socrates.core.errors import run
from socrates.core.files import read_json, read_table, write_json, write_text


def main() -> None:
    solve = load(Solve)
    problems = read_table(TEST, PROBLEMS)
    attempts = pl.concat([read_table(path, COMPLETIONS) for path in ATTEMPTS.values()])
    result = summary(attempts, problems, solve.pass_at, solve.bootstrap, solve.seed)
    training = read_json(TRAINED / "training.json", "run make gsm8k")
    write_json(METRICS / "evaluate.json", result)
    write_text(METRICS / "report.md", render(result, attempts, problems, solve.transcripts, training))
    for line in headline(result):
        print(f"evaluate: {line}")


if __name__ == "__main__":
    run(main)
