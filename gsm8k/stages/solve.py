"""solve: attempts at the test problems by the base model or the trained one, greedy and drawn.

Reads gsm8k/data/test.parquet, gsm8k/models/base/ and, for the trained model, gsm8k/models/trained/.
Writes gsm8k/data/attempts/<model>.parquet (see ``gsm8k.problems.COMPLETIONS``).
"""

import sys

from gsm8k.params import ATTEMPTS, BASE, TEST, TRAINED, Solve, load
from gsm8k.problems import PROBLEMS
from socrates.core.errors import SocratesError, run
from socrates.core.files import read_table, write_table
from socrates.model.params import Model


def main() -> None:
    if sys.argv[1:] not in (["base"], ["trained"]):
        raise SocratesError("gsm8k.stages.solve: say which model, base or trained")
    name, model, solve = sys.argv[1], load(Model), load(Solve)
    problems = read_table(TEST, PROBLEMS)[: solve.problems]
    from gsm8k.solver import Solver, attempt_all
    from socrates.model.loading import require_gpu

    require_gpu(BASE)
    table = attempt_all(problems, Solver(BASE, TRAINED if name == "trained" else None, model), name, solve)
    write_table(ATTEMPTS[name], table)
    print(f"solve {name}: {table.height:,} attempts at {problems.height:,} problems")


if __name__ == "__main__":
    run(main)
