"""What a run found, and other models beside it: ``audit``, ``compare``, ``ask-endpoint``, ``readme`` and others."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from socrates.cli.options import Json, panel, show

Name = Annotated[str, Option(help="What the predictor is called in metrics and report.")]

app, command = panel("Look at the results")


@command("socrates audit", "socrates audit --strict")
def audit(
    folder: Annotated[Path, Option(help="The project folder whose run is compared.")] = Path(),
    as_json: Json = False,
    strict: Annotated[bool, Option("--strict", help="Exit with 1 if an item is wrong.")] = False,
) -> None:
    """Compare params, split, training record and metrics with the paper, item by item.

    Each item is the same, different on purpose (with the reason), wrong, or not compared.
    """
    from socrates.tools import audit as auditing
    from socrates.tools.paper import SOURCE

    rows = auditing.audit(folder)
    value = {"source": SOURCE, "counts": auditing.counts(rows), "items": rows}
    show(as_json, value, auditing.markdown(rows), markdown=True)
    if strict and any(row["verdict"] == "wrong" for row in rows):
        raise typer.Exit(1)


@command("socrates compare main workspace")
def compare(
    a: Annotated[str, Argument(help="A Git revision, an experiment, or 'workspace': the files as they are.")],
    b: Annotated[str, Argument(help="The same, of the run that is compared with it.")],
    predictor: Annotated[str, Option(help="Of metrics/tables/cell_scores.csv.")] = "adapter",
    as_json: Json = False,
) -> None:
    """Compare two runs, paired by cell: the difference of each metric, its 95 % interval and p-value.

    Both are read from Git, so that neither need be checked out, and nothing is computed again.
    """
    from socrates.tools import compare as comparing

    table = comparing.compare(comparing.read_scores(a), comparing.read_scores(b), predictor)
    value = {"a": a, "b": b, "predictor": predictor, "metrics": table.to_dicts()}
    show(as_json, value, comparing.markdown(table, a, b), markdown=True)


@command("socrates folds fold-0 fold-1 fold-2 fold-3 fold-4")
def folds(
    runs: Annotated[list[str], Argument(help="The folds: Git revisions or experiments.")],
    predictor: Annotated[str, Option(help="Of metrics/tables/cell_scores.csv.")] = "adapter",
    baseline: Annotated[str, Option(help="The predictor it is compared with.")] = "words_demographics",
    as_json: Json = False,
) -> None:
    """Put the folds of a cross-validation together: one table over all studies, each tested once."""
    from socrates.tools import compare as comparing

    joined = comparing.join_folds({run: comparing.read_scores(run) for run in runs})
    table = comparing.beside_baseline(joined, predictor, baseline)
    value = {"runs": runs, "predictor": predictor, "baseline": baseline, "metrics": table.to_dicts()}
    show(as_json, value, comparing.markdown(table, baseline, predictor), markdown=True)


@command("socrates curve sample.max_per_cell curve-1 curve-10 curve-75")
def curve(
    key: Annotated[str, Argument(help="The parameter in which the runs differ.")],
    runs: Annotated[list[str], Argument(help="Git revisions or experiments.")],
    predictor: Annotated[str, Option(help="Of metrics/headline.json.")] = "adapter",
    plot: Annotated[Path, Option(help="The figure, as SVG.")] = Path("curve.svg"),
    as_json: Json = False,
) -> None:
    """Several runs against a setting: a table, and a figure over the tokens that each was trained on."""
    from socrates.core.files import write_text
    from socrates.tools import curve as curves

    points = [curves.read_point(run, key, predictor) for run in runs]
    write_text(plot, curves.draw(points, key, predictor))
    value = {"key": key, "predictor": predictor, "runs": points, "plot": str(plot)}
    show(as_json, value, f"{curves.markdown(points, key)}\n\nwritten: {plot}", markdown=True)


@command("socrates import-predictions gpt.csv --name gpt")
def import_predictions(
    file: Annotated[Path, Argument(help="A .csv or .parquet table; docs/experiments.md has its columns.")],
    name: Name,
    as_json: Json = False,
) -> None:
    """Put another model's predictions of the test rows beside ours: checked, then compared by dvc repro."""
    from socrates.tools.external import import_table

    folder, rows = import_table(file, name)
    told = f"{rows:,} rows -> {folder}; now: dvc repro evaluate report"
    show(as_json, {"folder": str(folder), "rows": rows}, told)


@command(
    "socrates ask-endpoint --url http://127.0.0.1:8000/v1 --model Qwen2.5-7B --name qwen7b --mode logprobs",
    "socrates ask-endpoint --url https://api.example.com/v1 --model large --name large --usd 2.5 10 --max-usd 20",
)
def ask_endpoint(
    url: Annotated[str, Option(help="Of an OpenAI-compatible server, up to and with /v1.")],
    model: Annotated[str, Option(help="What the server calls the model.")],
    name: Name,
    mode: Annotated[
        Literal["auto", "logprobs", "stated", "draws"],
        Option(help="Exact, a distribution stated as JSON, sampled answers, or the first that works."),
    ] = "auto",
    draws: Annotated[int, Option(min=1, help="Sampled answers of each question.")] = 10,
    personas: Annotated[bool, Option(help="Ask for each respondent, or once for each scenario.")] = True,
    workers: Annotated[int, Option(min=1, help="Calls at a time.")] = 8,
    usd: Annotated[tuple[float, float], Option(help="Per million tokens sent, received.")] = (0, 0),
    max_usd: Annotated[float, Option(help="Stop before more is spent.")] = 10,
    end: Annotated[str, Option(help="The end-of-answer token, for logprobs on scales such as 1-10.")] = "",
    format: Annotated[
        Literal["chat", "socrates"], Option(help="Messages of our own, or the released models' prompt.")
    ] = "chat",
    yes: Annotated[
        bool, Option("--yes", help="Start even if the estimate is above --max-usd, without asking.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict the test rows with a model behind an endpoint; the key comes from SOCRATES_ENDPOINT_KEY.

    Prints the tokens and dollars that it will take before the first call. A killed run goes on where it was.
    """
    from socrates.tools.endpoint import Endpoint, predict_test_rows

    endpoint = Endpoint(url, model, mode, draws, workers, usd, max_usd, end, format)

    def confirm(question: str) -> bool:
        return yes or (sys.stdin.isatty() and typer.confirm(question, err=True))

    folder, rows, spent = predict_test_rows(endpoint, name, personas, confirm)
    paid = {"sent": spent.sent, "received": spent.received, "usd": spent.usd, "rejected": spent.rejected}
    told = f"{rows:,} rows by {spent.endpoint.mode}, {spent.rejected} replies rejected, ${spent.usd:.2f} -> {folder}"
    show(as_json, {"folder": str(folder), "rows": rows, **paid}, f"{told}; now: dvc repro evaluate report")


@command("socrates paper-baseline")
def paper_baseline(as_json: Json = False) -> None:
    """Set a local Git tag whose metrics are the paper's, for dvc metrics diff paper-baseline."""
    from socrates.tools.paper import FIGURES, TAG, tag_paper

    commit = tag_paper()
    told = f"tag {TAG}: {commit[:10]}, HEAD with the figures of {FIGURES}; now: dvc metrics diff {TAG}"
    show(as_json, {"tag": TAG, "commit": commit}, told)


@command("socrates readme")
def readme(as_json: Json = False) -> None:
    """Write the figures of README.md from metrics/ and the estimates, after a new default run."""
    from socrates.tools.readme import write

    written = [str(path) for path in write()]
    show(as_json, {"written": written}, f"readme: {', '.join(written)}")
