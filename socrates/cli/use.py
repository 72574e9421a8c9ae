"""To ask the model: ``predict``, ``experiment`` and ``serve``."""

from __future__ import annotations

import json
import os
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from socrates.cli.options import Json, panel, show
from socrates.core.errors import SocratesError

if TYPE_CHECKING:
    from socrates.app.experiment import ExperimentResult
    from socrates.app.model import OpenModel
    from socrates.app.model_ref import ModelRef
    from socrates.app.parse import Persona, Question

ADAPTER, BASE, TABLES = "models/adapter", Path("models/base"), Path("metrics/tables")
HOST = "127.0.0.1"  # and no other: there is no login

Adapter = Annotated[
    str | None,
    Option(
        help="A folder, or 'none' for the base model.", callback=lambda name: None if name == "none" else name
    ),
]
Base = Annotated[Path, Option("--base", "--model", help="The base model's folder, or one saved whole.")]
Precision = Annotated[
    Literal["auto", "bfloat16", "nf4", "int8", "float32"],
    Option(help="Of the weights; auto: by device and its free memory."),
]

app, command = panel("Use the model")


@command(
    'socrates predict --demographics "Age: 30; Gender: Female" '
    '--scenario "Should the minimum wage be raised to \\$15/hour? (1-7 scale, 1=Strongly oppose)"',
    "socrates predict --example 1 --compare-base --sample 20",
    "socrates predict --input rows.csv --output answers.csv",
)
def predict(
    demographics: Annotated[
        str, Option(help="Who is asked: 'Age: 30; Gender: Female'. Empty: nothing is known of them.")
    ] = "",
    scenario: Annotated[str | None, Option(help="What they read, with its question and scale.")] = None,
    scale: Annotated[str | None, Option(help="1-7, 0-1000/100 or 1,2,98, if it states none.")] = None,
    example: Annotated[int | None, Option(help="One of the built-in examples, from 1.")] = None,
    input: Annotated[
        Path | None, Option(help="A file of questions: .csv, .jsonl or .parquet with a column scenario.")
    ] = None,
    output: Annotated[
        Path | None, Option(help="Where their answers go. A killed run goes on from its parts.")
    ] = None,
    compare_base: Annotated[bool, Option("--compare-base", help="The base's answer beside it.")] = False,
    sample: Annotated[
        int, Option(min=0, max=100_000, help="Answers to draw at temperature 0.6, top-p 0.9.")
    ] = 0,
    seed: Annotated[int, Option(min=0, help="Of the draws.")] = 0,
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
    from socrates.app.model_ref import resolve_model
    from socrates.app.parse import EXAMPLES, parse_demographics, parse_question

    if example is not None:
        if not 1 <= example <= len(EXAMPLES):
            raise typer.BadParameter(f"--example {example}: there are {len(EXAMPLES)}, from 1")
        chosen = EXAMPLES[example - 1]
        demographics, scenario = demographics or chosen.demographics, chosen.scenario
    ref = resolve_model(base, adapter)
    if compare_base and ref.adapter is None:
        raise typer.BadParameter("--compare-base needs an adapter to compare with")

    def opened(ref: ModelRef = ref) -> OpenModel:
        from socrates.app.model import open_model

        return open_model(ref, precision)

    if input is None or output is None:
        # what cannot be read is refused before the seconds that a model takes
        who, question = parse_demographics(demographics), parse_question(scenario or "", scale)
        models = {"adapter" if ref.adapter else "base": opened()}
        models |= {"base": opened(ref.base_only())} if compare_base else {}
        value, lines = _answer(who, question, models, sample, seed)
    else:
        from socrates.app.batch import answer_file

        value = answer_file(input, output, ref, opened, scale)
        lines = _summary(value)
    show(as_json, value, *lines)


def _summary(counts: dict[str, Any]) -> list[str]:
    """What became of a file of questions."""
    left = counts["rows"] - counts["answered"]
    return [
        f"model    {counts['model']}",
        f"persona  {counts['persona'].removeprefix('persona ')}",
        f"predict: {counts['answered']:,} of {counts['rows']:,} rows answered in {counts['output']}; "
        f"with notes: {counts['with_notes']:,}; format validity {100 * counts['format_validity']:.1f} %",
        *([f"note: {left:,} rows not answered; the first: {counts['first_problem']}"] if left else []),
        *(f"note: {note}" for note in counts["notes"]),
    ]


def _answer(
    who: Persona, question: Question, models: dict[str, OpenModel], samples: int, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """One question asked of each of ``models``; draws, notes and training range are those of the first."""
    from socrates.app.answers import TEMPERATURE, TOP_P, chart, describe
    from socrates.app.parse import short

    ref = next(iter(models.values())).ref
    answers = {name: model.answer(who, question) for name, model in models.items()}
    first = next(iter(answers.values()))
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
    lines += [f"{name}: " * (len(answers) > 1) + describe(answer) for name, answer in answers.items()]
    how = f"{samples} drawn at temperature {TEMPERATURE}, top-p {TOP_P}"
    lines += [f"{how}: {' '.join(map(str, draws))}"] if samples else []
    lines += [f"note: {note}" for note in notes]
    lines += [f"outside the training data: {sentence}" for sentence in outside]
    return value, lines


@command(
    "socrates experiment examples/endorsement.yaml",
    "socrates experiment examples/endorsement.yaml --output experiments/endorsement --json",
)
def experiment(
    design: Annotated[Path, Argument(help="YAML: conditions, outcomes, population; see examples/.")],
    output: Annotated[
        Path | None, Option(help="Folder for page and tables; experiments/NAME if left out.")
    ] = None,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    tables: Annotated[
        Path | None,
        Option(help=f"Folder with the model's effects.csv and cells.csv; {TABLES} if left out."),
    ] = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Answer a survey experiment with the model: distributions, effects with intervals, power.

    The 90 % intervals hold the model's error on held-out studies, which evaluate measured.

    Writes a page (experiment.html) and CSV tables.
    """
    from tqdm import tqdm

    from socrates.app import experiment_report as report
    from socrates.app.design import read_design
    from socrates.app.experiment import ask_model
    from socrates.app.model_ref import resolve_model
    from socrates.app.row_files import check_output

    folder = output or Path("experiments") / design.stem
    if tables is None and (adapter not in (ADAPTER, None) or base != BASE):
        known = f"{TABLES} has the error of {ADAPTER}, and no other model's is known"
        raise typer.BadParameter(f"say --tables: {known}")
    planned = read_design(design)
    check_output(folder / "experiment.html")
    ref = resolve_model(base, adapter)
    bar = partial(tqdm, desc="experiment", unit="batch")
    result = ask_model(planned, design.parent, ref, tables or TABLES, precision, bar)
    written = [str(path) for path in report.write(result, folder)]
    value = {**report.summary(result), "files": written}
    show(as_json, value, _effects(result, written), markdown=True)


def _effects(result: ExperimentResult, written: list[str]) -> str:
    """What an experiment found, in Markdown."""
    from socrates.app.experiment_report import answer, interval, percent, signed
    from socrates.reporting.markdown import markdown_table

    head = ("outcome", "condition", "unit", "model", "effect", "90 % interval", "power", "people for 80 %")
    rows = []
    for effect in result.effects:
        found = [""] * 4
        if effect.effect is not None and effect.power is not None:
            needed = f"{effect.respondents_needed:,}" if effect.respondents_needed else "not attainable"
            found = [signed(effect.effect), interval(effect), percent(effect.power), needed]
        rows.append((effect.outcome, effect.condition, effect.unit.name, signed(effect.predicted), *found))
    study = f"{result.design.respondents} respondents in all find the effect (two-sided 0.05)"
    ending = [f"warning: {kind}: {text}" for kind, texts in result.warnings.items() for text in texts]
    ending += [*(f"note: {text}" for text in result.notes), f"written: {', '.join(written)}"]
    return "\n\n".join([
        f"# {result.design.title}",
        f"{result.model}; {result.people.source}",
        *answer(result),
        markdown_table(head, rows),
        f"Power: chance that {study}, averaged over what it may be. Simulated answers are no substitute for people.",
        "\n".join(f"- {line}" for line in ending),
    ])  # fmt: skip


@command("socrates serve --port 8500")
def serve(
    port: Annotated[int, Option(min=0, max=65535, help="0: any free one.")] = 8421,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    precision: Precision = "auto",
    as_json: Annotated[bool, Option("--json", help="The address as JSON on standard output.")] = False,
) -> None:
    """Serve a page to ask the model and to compare two wordings, on 127.0.0.1 only."""
    listening = listen(port)  # before the seconds a model takes
    import uvicorn

    from socrates.app.model import open_model
    from socrates.app.model_ref import resolve_model
    from socrates.app.server import create_app

    model = open_model(resolve_model(base, adapter), precision)
    url = f"http://{HOST}:{listening.getsockname()[1]}"
    told = json.dumps({"url": url, "model": str(model)})
    print(told if as_json else f"{model}\n{url}  (Ctrl+C stops)", flush=True)
    waits: dict[str, Any] = {"timeout_keep_alive": 5, "timeout_graceful_shutdown": 5}
    config = uvicorn.Config(create_app(model), log_level="critical", server_header=False, **waits)
    uvicorn.Server(config).run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """A socket on the port of this machine. Raises :class:`SocratesError` where it is taken."""
    try:
        return socket.create_server((HOST, port), backlog=512)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        advice = "give another with --port, or 0 for any free one"
        raise SocratesError(f"port {port}: {reason}; {advice}") from None
