"""``python -m gsm8k QUESTION``: the trained word-problem model's reasoning and answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from socrates.cli.options import Json
from socrates.core import errors

EPILOG = 'Example:\n\n  python -m gsm8k "Ada has 3 pens. Ada finds 2 more. How many pens does Ada have now?"'


def solve(
    question: Annotated[str, typer.Argument(help="A word problem with a number as its answer.")],
    base: Annotated[
        bool, typer.Option("--base", help="Ask the base model, as it was before training.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="The folder of the word-problem pipeline.")] = Path("gsm8k"),
    as_json: Json = False,
) -> None:
    """Solve a word problem step by step: reasoning and answer, from the likeliest completion."""
    from gsm8k import answers
    from gsm8k.params import Problems, Solve
    from socrates.core import params
    from socrates.core.errors import DataError, ModelError
    from socrates.model.params import Model

    path, sections = folder / "params.yaml", params.GSM8K_SECTIONS
    model, limits = params.load(Model, path, sections), params.load(Solve, path, sections)
    problems = params.load(Problems, path, sections)
    models = folder / "models"
    trained = None if base else models / "trained"
    for needed in (models / "base", *([trained] if trained else [])):
        if not needed.is_dir():
            raise ModelError(f"{needed}: not found; run dvc repro {folder / 'dvc.yaml'}")
    if not question.strip():
        raise DataError("the question is empty: give a word problem")

    from gsm8k.generate import Solver

    solver = Solver(models / "base", trained, model)
    prompt, most = solver.prompt(question), solver.model.config.max_position_embeddings
    if len(prompt) + limits.max_completion_length > most:
        raise DataError(f"the question has {len(prompt):,} tokens; the model reads {most:,}: shorten it")
    written = solver.complete([prompt], limits.max_completion_length, None)[0]
    notes = []
    if problems.source == "synthetic":
        made = problems.synthetic
        notes.append(
            f"The model learned from made problems of {made.min_steps} to {made.max_steps} steps with numbers up to "
            f"{made.max_number} (problems.source synthetic): it cannot solve others."
        )
    answer = answers.extract(written.text)
    stated = None if answer is None else answers.number(answer)
    found = {
        "question": question,
        "reasoning": answers.reasoning(written.text),
        "answer": None if stated is None else answers.number_text(stated),
        "strict_format": answers.is_strict(written.text),
        "truncated": written.truncated,
        "completion": written.text,
        "notes": notes,
    }
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    print(found["reasoning"] or written.text)
    print(f"answer: {found['answer'] if found['answer'] is not None else 'none that is a number'}")
    for note in notes:
        print(f"note: {note}")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(epilog=EPILOG)(solve)


if __name__ == "__main__":
    errors.run(lambda: app(prog_name="python -m gsm8k"))
