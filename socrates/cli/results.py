"""After a run: what it found, other models beside it, and the trained model for others."""

import contextlib
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from socrates.cli.options import Json, panel, show
from socrates.core.errors import SocratesError

Name = Annotated[str, Option(help="What the predictor is called in metrics and report.")]
Out = Annotated[Path, Option(file_okay=False, help="Folder that is written; replaced if it is there.")]
License = Annotated[
    str | None, Option("--license", help="Of the adapter, as the hub names it; else not decided.")
]

look, command = panel("Look at the results")
share, sharing = panel("Hand the model on")


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


@sharing(
    "socrates merge", "socrates predict --model models/merged --adapter none --example 1  # asks it then"
)
def merge(
    out: Out = Path("models/merged"),
    rows: Annotated[int, Option(min=1, help="Test rows to compare on.")] = 100,
    tolerance: Annotated[
        float | None,
        Option(min=0, help="Mean distance of answers that is allowed; by the dtype if left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the adapter merged into its base model as safetensors, if both give the same answers.

    The adapter is added to the weights that NF4 represents, not to the original ones.
    """
    from socrates.tools.merge import merge as merge_models

    with contextlib.redirect_stdout(sys.stderr):  # DeepSpeed logs to standard output, which is for the result
        check = merge_models(Path(), out, rows, tolerance)
    told = (
        f"merge: {out}, {check['dtype']}, the adapter added to the "
        f"{'de-quantised NF4' if check['quantization'] == 'nf4' else 'base'} weights; on {check['rows']} test rows "
        f"their answers have a total variation distance of {check['mean_distance']:.2g} in the mean "
        f"(largest {check['largest_distance']:.2g}; allowed in the mean {check['tolerance']:.2g})"
    )
    show(as_json, {"out": str(out), **check}, told)


@sharing("socrates card --adapter owner/name --license apache-2.0")
def card(
    out: Out = Path("models/card"),
    adapter: Annotated[
        str, Option(help="Where the loading snippet finds the adapter: a folder or a hub repository.")
    ] = "models/adapter",
    license_: License = None,
    as_json: Json = False,
) -> None:
    """Write a model card from the run: data, params, figures with intervals, limits, how to load."""
    from socrates.reporting.read import read_report
    from socrates.tools.card import write_card

    files = write_card(out, read_report(Path()), adapter, license_)
    show(as_json, {"out": str(out), "files": files}, f"card: {out / 'README.md'} and {len(files) - 1} plots")


@sharing(
    "socrates publish --repo owner/name --dry-run",
    "socrates publish --repo owner/name --public --license apache-2.0",
)
def publish(
    repo: Annotated[str, Option(help="Repository on the hub: owner/name.")],
    public: Annotated[bool, Option("--public", help="Show it to everyone; private otherwise.")] = False,
    license_: License = None,
    dry_run: Annotated[bool, Option("--dry-run", help="List the files and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Push adapter, model card, metrics and plots to the hub in one commit, private unless told otherwise."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise typer.BadParameter(f"--repo {repo}: expected owner/name")

    from socrates.reporting.read import read_report
    from socrates.tools.card import files_to_publish, upload, write_card

    if public and license_ is None:
        raise SocratesError("--public: others need a licence to use it; decide with --license")
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder, "card")
        write_card(card, read_report(Path()), repo, license_)
        files = files_to_publish(Path(), card)
        sizes = {path: file.stat().st_size for path, file in files.items()}
        address = None if dry_run else upload(repo, files, public)
    lines = [f"{size:>12,}  {path}" for path, size in sizes.items()] if dry_run else []
    shown = "public" if public else "private"
    done = f"would go to {repo} ({shown}); nothing was sent" if dry_run else f"{shown}, {address}"
    told = f"publish: {len(sizes)} files, {sum(sizes.values()):,} bytes, {done}"
    show(as_json, {"repo": repo, "public": public, "commit": address, "files": sizes}, *lines, told)
