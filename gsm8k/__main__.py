"""``python -m gsm8k QUESTION``: the trained word-problem model's reasoning and answer."""

from typing import Annotated

import typer

from gsm8k.answer_format import extract_reasoning, format_number, parse_answer
from gsm8k.params import BASE, TRAINED, Problems, Solve, load
from socrates.cli.options import Json, show
from socrates.core import errors
from socrates.core.errors import DataError, ModelError
from socrates.model.params import Model

EXAMPLE = 'python -m gsm8k "Ada has 3 pens. Ada finds 2 more. How many pens does Ada have now?"'
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=f"Example:\n\n  {EXAMPLE}")
def solve(
    question: Annotated[str, typer.Argument(help="A word problem with a number as its answer.")],
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before training.")] = False,
    as_json: Json = False,
) -> None:
    """Solve a word problem step by step: reasoning and answer, from the likeliest completion."""
    trained = None if base else TRAINED
    limit, problems = load(Solve).max_completion_length, load(Problems)
    for needed in filter(None, (BASE, trained)):
        if not needed.is_dir():
            raise ModelError(f"{needed}: not found; run make gsm8k")
    if not question.strip():
        raise DataError("the question is empty: give a word problem")

    from gsm8k.solver import Solver

    solver = Solver(BASE, trained, load(Model))
    prompt, most = solver.prompt_ids(question), solver.model.config.max_position_embeddings
    if len(prompt) + limit > most:
        raise DataError(f"the question has {len(prompt):,} tokens; the model reads {most:,}: shorten it")
    text, *_ = solver.complete([prompt], limit, None)[0]
    reasoning, number, made = extract_reasoning(text), parse_answer(text), problems.synthetic
    answer = None if number is None else format_number(number)
    limits = (
        f"The model learned from made problems of {made.min_steps} to {made.max_steps} steps with numbers up to "
        f"{made.max_number} (problems.source synthetic): it cannot solve others."
    )
    notes = [limits] if problems.source == "synthetic" else []
    value = {"reasoning": reasoning, "answer": answer, "completion": text, "notes": notes}
    lines = [
        reasoning or text,
        f"answer: {answer or 'none that is a number'}",
        *(f"note: {note}" for note in notes),
    ]
    show(as_json, {"question": question, **value}, *lines)


if __name__ == "__main__":
    errors.run(lambda: app(prog_name="python -m gsm8k"))
