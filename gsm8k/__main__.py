"""``python -m gsm8k QUESTION``: the trained word-problem model's reasoning and answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gsm8k.answer_format import extract_reasoning, format_number, is_strict, parse_answer
from socrates.cli.options import Json
from socrates.core import errors
from socrates.core.errors import DataError, ModelError

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
    found = answer_question(question, folder, base)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    print(found["reasoning"] or found["completion"])
    print(f"answer: {found['answer'] if found['answer'] is not None else 'none that is a number'}")
    for note in found["notes"]:
        print(f"note: {note}")


def answer_question(question: str, folder: Path, base: bool) -> dict[str, Any]:
    """The likeliest completion of a question and what can be read in it, as the JSON that is printed."""
    from gsm8k.params import Problems, Solve
    from socrates.core import params
    from socrates.model.params import Model

    path, sections = folder / "params.yaml", params.GSM8K_SECTIONS
    limit = params.load(Solve, path, sections).max_completion_length
    models = [folder / "models" / name for name in ("base", *([] if base else ["trained"]))]
    for needed in models:
        if not needed.is_dir():
            raise ModelError(f"{needed}: not found; run dvc repro {folder / 'dvc.yaml'}")
    if not question.strip():
        raise DataError("the question is empty: give a word problem")

    from gsm8k.solver import Solver

    solver = Solver(models[0], None if base else models[1], params.load(Model, path, sections))
    prompt, most = solver.prompt_ids(question), solver.model.config.max_position_embeddings
    if len(prompt) + limit > most:
        raise DataError(f"the question has {len(prompt):,} tokens; the model reads {most:,}: shorten it")
    completion = solver.complete([prompt], limit, None)[0]
    number = parse_answer(completion.text)
    problems = params.load(Problems, path, sections)
    made = problems.synthetic
    limits = (
        f"The model learned from made problems of {made.min_steps} to {made.max_steps} steps with numbers up to "
        f"{made.max_number} (problems.source synthetic): it cannot solve others."
    )
    return {
        "question": question,
        "reasoning": extract_reasoning(completion.text),
        "answer": None if number is None else format_number(number),
        "strict_format": is_strict(completion.text),
        "truncated": completion.truncated,
        "completion": completion.text,
        "notes": [limits] if problems.source == "synthetic" else [],
    }


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(epilog=EPILOG)(solve)


if __name__ == "__main__":
    errors.run(lambda: app(prog_name="python -m gsm8k"))
