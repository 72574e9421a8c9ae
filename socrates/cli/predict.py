"""predict: the answer distribution of a respondent, or of a file of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from socrates.cli.options import (
    ADAPTER,
    BASE,
    USE,
    Adapter,
    Base,
    Json,
    Precision,
    Revision,
    cautions,
    example,
    found,
)

if TYPE_CHECKING:
    from socrates.app.model import OpenModel
    from socrates.app.model_ref import ModelRef
    from socrates.app.training_support import TrainingSupport

EXAMPLES = example(
    'socrates predict --demographics "Age: 30; Gender: Female" '
    '--scenario "Should the minimum wage be raised to $15/hour? (1-7 scale, 1=Strongly oppose)"',
    "socrates predict --example 1 --compare-base --sample 20",
    "socrates predict --input rows.csv --output answers.csv",
)
app = typer.Typer()


@app.command(epilog=EXAMPLES, rich_help_panel=USE)
def predict(
    demographics: Annotated[
        str, typer.Option(help="Who is asked: 'Age: 30; Gender: Female'. Empty: nothing is known of them.")
    ] = "",
    scenario: Annotated[
        str | None, typer.Option(help="What they read: scenario, question, and its answer scale.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="1-7, 0-1000/100 or 1,2,98: where the scenario states no scale.")
    ] = None,
    example: Annotated[int | None, typer.Option(help="One of the built-in examples, from 1.")] = None,
    input: Annotated[
        Path | None,
        typer.Option(help="A file of questions: .csv, .jsonl or .parquet with a column scenario."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where their answers go, same formats. A killed run goes on from its parts."),
    ] = None,
    compare_base: Annotated[
        bool, typer.Option("--compare-base", help="The base model's answer beside it.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=0, max=100_000, help="Answers to draw at temperature 0.6, top-p 0.9.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    rev: Revision = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Predict how a person answers a survey question: a distribution over its scale."""
    kinds = [name for name, given in _kinds(scenario, example, input).items() if given]
    if len(kinds) != 1:
        raise typer.BadParameter("give one of --scenario, --example and --input")
    if (input is None) != (output is None):
        raise typer.BadParameter("--input and --output go together")
    if input is not None and demographics:
        raise typer.BadParameter("--demographics is for --scenario; a file has its own column")
    if example is not None:
        demographics, scenario = _example(example, demographics)
    ref, known = found(base, adapter, rev)
    if compare_base and ref.adapter is None:
        raise typer.BadParameter("--compare-base needs an adapter to compare with")
    models = {"adapter" if ref.adapter else "base": ref}
    if compare_base:
        models["base"] = ref.base_only()
    notes = (*cautions(adapter, rev), *(known.cautions if known else ()))
    how = _How(models, known, notes, scale, sample, seed, precision, as_json)
    if input is not None and output is not None:
        _file(input, output, how)
        return
    _one(demographics, scenario or "", how)


@dataclass(frozen=True)
class _How:
    """How questions are asked and answers told, be it one or a file of them."""

    models: dict[str, ModelRef]
    known: TrainingSupport | None
    cautions: tuple[str, ...]
    scale: str | None
    samples: int
    seed: int
    precision: str
    as_json: bool

    def open(self, name: str) -> OpenModel:
        """The model of a name, ready to be asked."""
        from socrates.app.model import open_model

        return open_model(self.models[name], self.precision)


Mode = Literal["scenario", "example", "input"]


def _kinds(scenario: str | None, example: int | None, file: Path | None) -> dict[Mode, bool]:
    return {"scenario": scenario is not None, "example": example is not None, "input": file is not None}


def _example(number: int, demographics: str) -> tuple[str, str]:
    from socrates.app.examples import EXAMPLES

    if not 1 <= number <= len(EXAMPLES):
        raise typer.BadParameter(f"--example {number}: there are {len(EXAMPLES)}, from 1")
    found = EXAMPLES[number - 1]
    return demographics or found.demographics, found.scenario


def _one(demographics: str, scenario: str, how: _How) -> None:
    from socrates.app.parse import QUESTIONS, parse_demographics, parse_question, short

    # before the seconds a model takes
    who, question = parse_demographics(demographics), parse_question(scenario, how.scale)
    import polars as pl

    from socrates.app.answers import TEMPERATURE, TOP_P, chart, describe
    from socrates.app.model import answers_of
    from socrates.app.training_support import NOT_AT_HAND

    known = how.known
    outside = known.of_persona(who) + known.of_question(question.stimuli, question.scale) if known else []
    row = pl.DataFrame(
        [(who.text, question.stimuli, question.scale.notation)], schema=QUESTIONS, orient="row"
    )
    answers, names = {}, []
    for name in how.models:
        model = how.open(name)
        answers[name] = answers_of(model.ask(row))[0]
        names.append(str(model))
    first = next(iter(answers.values()))
    draws = first.draw(how.samples, how.seed)
    notes = [*how.cautions, *next(iter(how.models.values())).notes, *question.notes, *first.doubts]
    if known is None:
        notes.append(NOT_AT_HAND)
    if how.as_json:
        from socrates.core.files import json_text

        result = {
            "models": names,
            "persona": who.text,
            "asked": question.stimuli,
            "scale_rule": question.rule,
            **{name: answer.summary() for name, answer in answers.items()},
            "samples": {"answers": draws, "temperature": TEMPERATURE, "top_p": TOP_P, "seed": how.seed}
            if how.samples
            else None,
            "outside_training": outside,
            "notes": notes,
        }
        print(json_text(result), end="")
        return
    for name in names:
        print(f"model    {name}")
    print(
        f"persona  {who.text}\nasked    {question.stimuli}\nscale    {short(question.scale)} ({question.rule})\n"
    )
    print(chart(answers, shutil.get_terminal_size().columns) + "\n")
    for name, answer in answers.items():
        print(f"{name}: {describe(answer)}" if len(answers) > 1 else describe(answer))
    if how.samples:
        print(f"{how.samples} drawn at temperature {TEMPERATURE}, top-p {TOP_P}: {' '.join(map(str, draws))}")
    for note in notes:
        print(f"note: {note}")
    for sentence in outside:
        print(f"outside the training data: {sentence}")


def _file(source: Path, output: Path, how: _How) -> None:
    from socrates.app.batch import READERS, answer_batch, check_output, read_batch
    from socrates.core.errors import DataError
    from socrates.core.files import json_text

    if output.suffix not in READERS:
        raise DataError(f"{output}: expected .csv, .jsonl or .parquet (--output)")
    check_output(output, source)
    batch = read_batch(source, how.scale, how.known)
    opened = {name: how.open(name) for name in how.models}
    counts = answer_batch(batch, opened, output, how.samples, how.seed)
    counts["models"] = [str(model) for model in opened.values()]
    counts["notes"] = list(how.cautions)
    if how.as_json:
        print(json_text(counts), end="")
        return
    problems = ", ".join(f"{reason} {count:,}" for reason, count in counts["problems"].items()) or "none"
    print(f"model    {'; '.join(counts['models'])}")
    print(f"persona  {counts['persona'].removeprefix('persona ')}")
    print(
        f"predict: {counts['answered']:,} of {counts['rows']:,} rows answered in {output} "
        f"({counts['resumed']:,} from an earlier run); not answered: {problems}; "
        f"with notes: {counts['with_notes']:,}; format validity "
        + ", ".join(f"{name} {100 * value:.1f} %" for name, value in counts["format_validity"].items())
    )
    for note in how.cautions:
        print(f"note: {note}")
