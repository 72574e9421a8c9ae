"""How much faster a file of questions is than its rows one by one, and how close the numbers are.

10,000 respondents of the training split, 200 for each of 50 scenarios, asked of the default model. Row by
row is measured on every 25th row and multiplied, because the whole would take minutes and show nothing more.
Run: ``python -m benchmarks.predict_batch`` after ``dvc repro``
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from socrates.survey.prompts import persona_expression
from socrates.survey.tables import RESPONSES, read_table
from socrates.use.asking import answers_of, open_model
from socrates.use.finding import TRAINING_TABLE, locate
from socrates.use.questions import asked

SCENARIOS, PER_SCENARIO, EVERY = 50, 200, 25


def main() -> None:
    table = read_table(TRAINING_TABLE, RESPONSES)
    people = table.select(persona_expression()).unique(maintain_order=True)["persona"]
    texts = table["stimuli"].unique(maintain_order=True)[:SCENARIOS].to_list()
    chosen = np.random.default_rng(1).choice(len(people), SCENARIOS * PER_SCENARIO)
    questions = pl.DataFrame(
        {
            "persona": people[chosen],
            "stimuli": [text for text in texts for _ in range(PER_SCENARIO)],
            "scale": [asked(text).scale.notation for text in texts for _ in range(PER_SCENARIO)],
        }
    )
    model = open_model(locate())
    model.ask(questions[:1])  # what the first call allocates is neither's
    rows = range(0, len(questions), EVERY)
    start = time.perf_counter(), time.process_time()
    together = model.ask(questions)
    batch = time.perf_counter() - start[0], time.process_time() - start[1]
    start = time.perf_counter(), time.process_time()
    alone = [answers_of(model.ask(questions[row : row + 1]))[0] for row in rows]
    single = tuple(
        EVERY * (now - then)
        for now, then in zip((time.perf_counter(), time.process_time()), start, strict=True)
    )
    batched = answers_of(together)
    apart = max(
        np.abs(one.probabilities - batched[row].probabilities).max()
        for one, row in zip(alone, rows, strict=True)
    )
    distinct = questions.unique().height
    print(f"{model}; {len(questions):,} rows, {distinct:,} distinct, {SCENARIOS} scenarios\n")
    print("| | seconds | CPU seconds | rows a second |")
    print("|---|---|---|---|")
    for name, (seconds, cpu) in {"batch": batch, f"row by row ({len(rows)} rows x {EVERY})": single}.items():
        print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {len(questions) / seconds:,.0f} |")
    print(f"\n{single[0] / batch[0]:.1f}x faster ({single[1] / batch[1]:.1f}x in CPU time); ", end="")
    print(f"largest difference of a probability {apart:.1e}")


if __name__ == "__main__":
    main()
