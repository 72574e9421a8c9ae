"""predict: the answer distribution of a respondent, or of a file of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from socrates.cli.options import ADAPTER, BASE, USE, Adapter, Base, Json, Precision, example, show

if TYPE_CHECKING:
    from socrates.app.model import OpenModel
    from socrates.app.model_ref import ModelRef

EXAMPLES = example(
    'socrates predict --demographics "Age: 30; Gender: Female" '
    '--scenario "Should the minimum wage be raised to \\$15/hour? (1-7 scale, 1=Strongly oppose)"',
    "socrates predict --example 1 --compare-base --sample 20",
    "socrates predict --input rows.csv --output answers.csv",
)
app = typer.Typer()


@app.command(epilog=EXAMPLES, rich_help_panel=USE)
def predict(
    demographics: Annotated[
        str, typer.Option(help="Who is asked: 'Age: 30; Gender: Female'. Empty: nothing is known of them.")
    ] = "",
    scenario: Annotated[str | None, typer.Option(help="What they read, with its question and scale.")] = None,
    scale: Annotated[str | None, typer.Option(help="1-7, 0-1000/100 or 1,2,98, if it states none.")] = None,
    example: Annotated[int | None, typer.Option(help="One of the built-in examples, from 1.")] = None,
    input: Annotated[
        Path | None,
        typer.Option(help="A file of questions: .csv, .jsonl or .parquet with a column scenario."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where their answers go. A killed run goes on from its parts.")
    ] = None,
    compare_base: Annotated[
        bool, typer.Option("--compare-base", help="The base's answer beside it.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=0, max=100_000, help="Answers to draw at temperature 0.6, top-p 0.9.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Predict how a person answers a survey question: a distribution over its scale."""
    if (scenario, example, input).count(None) != 2:
        raise typer.BadParameter("give one of --scenario, --example and --input")
    if (input is None) != (output is None):
        raise typer.BadParameter("--input and --output go together")
    if input and (demographics or compare_base or sample):
        raise typer.BadParameter("--demographics, --compare-base and --sample are for one question")
    if example is not None:
        from socrates.app.examples import EXAMPLES as KNOWN

        if not 1 <= example <= len(KNOWN):
            raise typer.BadParameter(f"--example {example}: there are {len(KNOWN)}, from 1")
        demographics, scenario = demographics or KNOWN[example - 1].demographics, KNOWN[example - 1].scenario
    from socrates.app.model_ref import resolve_model

    ref = resolve_model(base, adapter)
    if compare_base and ref.adapter is None:
        raise typer.BadParameter("--compare-base needs an adapter to compare with")

    def opened(ref: ModelRef = ref) -> OpenModel:
        from socrates.app.model import open_model

        return open_model(ref, precision)

    if input is not None and output is not None:
        from socrates.app.batch import answer_file

        counts = answer_file(input, output, ref, opened, scale)
        show(as_json, counts, *_told(counts))
    else:
        refs = [ref, *([ref.base_only()] if compare_base else [])]
        _one((demographics, scenario or "", scale), refs, opened, sample, seed, as_json)


def _one(
    asked: tuple[str, str, str | None],
    refs: list[ModelRef],
    opened: Callable[[ModelRef], OpenModel],
    samples: int,
    seed: int,
    as_json: bool,
) -> None:
    from socrates.app.answers import TEMPERATURE, TOP_P, chart, describe
    from socrates.app.parse import parse_demographics, parse_question, short

    demographics, scenario, scale = asked
    # what cannot be read is refused before the seconds that a model takes
    who, question = parse_demographics(demographics), parse_question(scenario, scale)
    models = {"adapter" if ref.adapter else "base": opened(ref) for ref in refs}
    answers = {name: model.answer(who, question) for name, model in models.items()}
    ref, first = refs[0], next(iter(answers.values()))
    draws = first.draw(samples, seed)
    notes = [*ref.cautions, *question.notes, *first.doubts]
    outside = ref.outside(who, question)
    drawn = {"answers": draws, "temperature": TEMPERATURE, "top_p": TOP_P, "seed": seed}
    value = {
        "models": [str(model) for model in models.values()],
        "persona": who.text,
        "asked": question.stimuli,
        "scale_rule": question.rule,
        **{name: answer.summary() for name, answer in answers.items()},
        "samples": drawn if samples else None,
        "outside_training": outside,
        "notes": notes,
    }
    lines = [f"model    {model}" for model in models.values()]
    lines += [f"persona  {who.text}", f"asked    {question.stimuli}"]
    lines += [f"scale    {short(question.scale)} ({question.rule})", ""]
    lines += [chart(answers, shutil.get_terminal_size().columns), ""]
    names = [f"{name}: " if len(answers) > 1 else "" for name in answers]
    lines += [f"{name}{describe(answer)}" for name, answer in zip(names, answers.values(), strict=True)]
    how = f"{samples} drawn at temperature {TEMPERATURE}, top-p {TOP_P}"
    lines += [f"{how}: {' '.join(map(str, draws))}"] if samples else []
    lines += [f"note: {note}" for note in notes]
    lines += [f"outside the training data: {sentence}" for sentence in outside]
    show(as_json, value, *lines)


def _told(counts: dict) -> list[str]:
    """The summary of a file."""
    left = counts["rows"] - counts["answered"]
    return [
        f"model    {counts['model']}",
        f"persona  {counts['persona'].removeprefix('persona ')}",
        f"predict: {counts['answered']:,} of {counts['rows']:,} rows answered in {counts['output']}; "
        f"with notes: {counts['with_notes']:,}; format validity {100 * counts['format_validity']:.1f} %",
        *([f"note: {left:,} rows not answered; the first: {counts['first_problem']}"] if left else []),
        *(f"note: {note}" for note in counts["notes"]),
    ]
