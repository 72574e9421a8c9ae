"""solve: attempts at the test problems by the base model or the trained one, greedy and drawn.

Reads gsm8k/data/test.parquet, gsm8k/models/base/ and, for the trained model, gsm8k/models/trained/.
Writes gsm8k/data/attempts/<model>.parquet (see ``gsm8k.problems.ATTEMPTS``).
Run: ``python -m gsm8k.stages.solve base`` or ``python -m gsm8k.stages.solve trained``
"""

import sys
from pathlib import Path

from tqdm import tqdm

from gsm8k.params import Solve, load
from gsm8k.problems import PROBLEMS
from socrates.core.errors import SocratesError, run
from socrates.core.files import read_table, write_table
from socrates.model.params import Model

TEST = Path("gsm8k/data/test.parquet")
BASE, TRAINED = Path("gsm8k/models/base"), Path("gsm8k/models/trained")
OUT = Path("gsm8k/data/attempts")


def main() -> None:
    if sys.argv[1:] not in (["base"], ["trained"]):
        raise SocratesError("gsm8k.stages.solve: say which model, base or trained")
    name = sys.argv[1]
    model, solve = load(Model), load(Solve)
    problems = read_table(TEST, PROBLEMS)[: solve.problems]
    from gsm8k.solver import Solver, attempt_all

    solver = Solver(BASE, TRAINED if name == "trained" else None, model)
    table = attempt_all(
        problems, solver, name, solve, lambda batches: tqdm(batches, desc=f"solve {name}", unit="batch")
    )
    write_table(OUT / f"{name}.parquet", table)
    print(f"solve {name}: {table.height:,} attempts at {problems.height:,} problems")


if __name__ == "__main__":
    run(main)
