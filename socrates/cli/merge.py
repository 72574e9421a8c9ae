"""``python -m socrates merge``: base and adapter as one plain model, checked on test rows."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from socrates.cli.options import Json, check_folder

OUT = Path("models/merged")

EPILOG = (
    "Example:\n\n  python -m socrates merge\n\nThe merged model is then asked with\n\n"
    "  python -m socrates predict --model models/merged --adapter none --example 1"
)


def merge(
    out: Annotated[Path, typer.Option(help="Folder of the merged model; replaced if it is there.")] = OUT,
    rows: Annotated[int, typer.Option(min=1, help="Test rows to compare on.")] = 100,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Largest difference of a probability; by the dtype if left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the adapter merged into its base model as safetensors, if both give the same answers.

    The adapter is added to the weights that NF4 represents, not to the original ones.
    """
    from dataclasses import asdict

    check_folder(out)

    from socrates.core.files import read_table
    from socrates.core.params import load
    from socrates.model.params import Model, Prompt
    from socrates.prediction.params import Predict
    from socrates.survey.tables import RESPONSES
    from socrates.tools.merge import merge as merge_models

    model, prompt, predict = load(Model), load(Prompt), load(Predict)
    splits = Path("data/splits")
    visible, test = (read_table(splits / f"{name}.parquet", RESPONSES) for name in ("train", "test"))
    with contextlib.redirect_stdout(sys.stderr):  # DeepSpeed logs to standard output, which is for the result
        found = merge_models(
            Path("models/base"),
            Path("models/adapter"),
            out,
            test,
            visible,
            model,
            prompt,
            predict,
            rows,
            tolerance,
        )
    if as_json:
        typer.echo(json.dumps({"out": str(out), **asdict(found)}))
        return
    typer.echo(
        f"merge: {out}, {found.dtype}, the adapter added to the "
        f"{'de-quantised NF4' if found.quantization == 'nf4' else 'base'} weights; on {found.rows} test rows the "
        f"largest difference of a probability is {found.largest_difference:.2g} "
        f"(of their sum {found.largest_mass_difference:.2g}; allowed {found.tolerance:.2g})"
    )
