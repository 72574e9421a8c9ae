"""How much faster a file of questions is than its rows one by one, and how close the numbers are.

10,000 respondents of the training split, 200 for each of 50 scenarios, asked of the default model in five
rounds of ten scenarios: a round as one table, then every 25th of its rows by itself, multiplied by 25. The
two take turns, so that other work on the machine meets both; processor time is what to compare on a busy one.
Run: ``python -m benchmarks.predict_batch`` after ``dvc repro``
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from socrates.app.model import answers_of, open_model
from socrates.app.model_ref import TRAINING_TABLE, resolve_model
from socrates.app.parse import parse_question
from socrates.core.files import read_table
from socrates.survey.prompts import persona_expression
from socrates.survey.tables import RESPONSES

SCENARIOS, PER_SCENARIO, EVERY, ROUNDS = 50, 200, 25, 5


def main() -> None:
    table = read_table(TRAINING_TABLE, RESPONSES)
    people = table.select(persona_expression()).unique(maintain_order=True)["persona"]
    texts = table["stimuli"].unique(maintain_order=True)[:SCENARIOS].to_list()
    chosen = np.random.default_rng(1).choice(len(people), SCENARIOS * PER_SCENARIO)
    questions = pl.DataFrame(
        {
            "persona": people[chosen],
            "stimuli": [text for text in texts for _ in range(PER_SCENARIO)],
            "scale": [parse_question(text).scale.notation for text in texts for _ in range(PER_SCENARIO)],
        }
    )
    model = open_model(resolve_model())
    model.ask(questions[:1])  # what the first call allocates is neither's
    size = len(questions) // ROUNDS
    seconds, apart = np.zeros((ROUNDS, 2, 2)), 0.0  # [round, way, wall or processor]
    for number in range(ROUNDS):
        part = questions[number * size : (number + 1) * size]
        start = clocks()
        together = answers_of(model.ask(part))
        seconds[number, 0] = clocks() - start
        for row in range(0, size, EVERY):
            start = clocks()
            alone = answers_of(model.ask(part[row : row + 1]))[0]
            seconds[number, 1] += EVERY * (clocks() - start)
            apart = max(apart, float(np.abs(alone.probabilities - together[row].probabilities).max()))
    distinct = questions.unique().height
    print(f"{model}; {len(questions):,} rows, {distinct:,} distinct, {SCENARIOS} scenarios\n")
    print("| | seconds | processor seconds |")
    print("|---|---|---|")
    for way, (wall, processor) in zip(
        ("batch", f"row by row, {len(questions) // EVERY} rows x {EVERY}"), seconds.sum(0), strict=True
    ):
        print(f"| {way} | {wall:.1f} | {processor:.1f} |")
    wall, processor = np.median(seconds[:, 1] / seconds[:, 0], axis=0)
    print(f"\nmedian of {ROUNDS} rounds: {wall:.1f}x faster, {processor:.1f}x in processor time; ", end="")
    print(f"largest difference of a probability {apart:.1e}")


def clocks() -> np.ndarray:
    """Wall and processor time, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    main()
