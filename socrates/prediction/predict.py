"""Answer distributions of a table of responses, by all processes of the stage."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.core.files import atomic_folder, read_table, write_json, write_table
from socrates.model.encoding import Encoded, encode
from socrates.model.loading import load_model, load_tokenizer, require_gpu
from socrates.model.params import Model, Prompt
from socrates.prediction.distributions import ScoringPlan
from socrates.prediction.params import Predict
from socrates.prediction.shards import compute_shards, cut_shards, read_shard
from socrates.prediction.table import predictions_table, thin_scales
from socrates.runs.fingerprint import run_config, run_directory_lock
from socrates.runs.launch import Process, barrier, broadcast_object, init_process_group
from socrates.runs.token_cache import tokenised
from socrates.survey.tables import SCALED_RESPONSES

Probe = tuple[
    Callable[[pl.DataFrame], tuple[pl.DataFrame, dict[str, int]]], Callable[[pl.DataFrame], pl.DataFrame]
]


@dataclass(frozen=True)
class PredictionInputs:
    """Which model predicts, and how.

    Attributes:
        base: its folder.
        adapter: an adapter's folder, or None for the base model alone.
        model, prompt, predict: sections of the params.
    """

    base: Path
    adapter: Path | None
    model: Model
    prompt: Prompt
    predict: Predict

    @functools.cached_property
    def loaded(self) -> Any:
        """The model, ready to score."""
        return load_model(self.base, self.adapter, self.model)

    def files(self) -> list[Path]:
        """What decides which model it is."""
        adapter = sorted(path for path in self.adapter.iterdir() if path.is_file()) if self.adapter else []
        return [self.base / "manifest.json", *adapter]


def usable_rows(
    table: pl.DataFrame, data: Encoded, prompt: Prompt, params: Predict
) -> tuple[pl.DataFrame, Encoded, dict[str, int]]:
    """Rows that have a scale and fit the context, encoded, and the rows excluded by reason.

    Args:
        data: the encoding of ``table``.
    """
    rows, excluded = thin_scales(table.with_row_index("row"), params)
    data = data.take(rows["row"].cast(pl.Int64).to_numpy())
    fits = data.lengths() <= prompt.max_length
    excluded["longer than prompt.max_length"] = int((~fits).sum())
    return rows.drop("row").filter(pl.Series(fits)), data.take(np.flatnonzero(fits)), excluded


def predict_split(
    test: Path, inputs: PredictionInputs, out: Path, process: Process, probe: Probe | None = None
) -> str:
    """Predict a table with all processes and write ``out``; returns one line about it (on the first).

    Args:
        test: the rows to predict (``SCALED_RESPONSES``).
        out: gets predictions.parquet and manifest.json.
        probe: changes the table first, giving the rows that it lost by reason; then the predictions.

    Raises:
        TrainingError: another process predicts the same, or the scratch cannot be written.
    """
    require_gpu(inputs.base)
    init_process_group(process)
    table = read_table(test, SCALED_RESPONSES)
    lost: dict[str, int] = {}
    with shared_folder(test, inputs, process, out.name) as folder:
        if probe:
            table, lost = probe[0](table)
            data = encode(table, load_tokenizer(inputs.base), inputs.prompt.layout, inputs.prompt.format)
        else:
            data = tokenised([test], inputs.base, inputs.prompt.layout, inputs.prompt.format)
        rows, data, excluded = usable_rows(table, data, inputs.prompt, inputs.predict)
        plan = ScoringPlan(load_tokenizer(inputs.base), data, rows["scale"].to_list())
        shards = cut_shards(list(plan.batches(inputs.predict.tokens_per_batch)), len(plan.rows))
        compute_shards(plan, shards, folder, process, lambda: inputs.loaded, f"predict {out.name}")
        barrier(process)
        if not process.is_main:
            return ""
        scored = plan.expand(read_shard(folder, number) for number in range(len(shards)))
        predictions, manifest = predictions_table(
            rows, scored.probabilities.values, scored.probabilities.offsets, scored.mass, lost | excluded
        )
        if probe:
            predictions = probe[1](predictions)
        with atomic_folder(out) as partial:
            write_table(partial / "predictions.parquet", predictions)
            write_json(partial / "manifest.json", manifest)
        shutil.rmtree(folder)
    reasons = ", ".join(f"{reason} {count}" for reason, count in (lost | excluded).items() if count)
    return f"{len(predictions):,} of {len(table):,} rows; excluded: {reasons or 'none'}"


@contextlib.contextmanager
def shared_folder(test: Path, inputs: PredictionInputs, process: Process, name: str) -> Iterator[Path]:
    """The folder of the shards of the prediction of this name, locked by the first process for all."""
    with contextlib.ExitStack() as stack:
        folder = Path()
        if process.is_main:
            sections = {"model": inputs.model, "prompt": inputs.prompt, "predict": inputs.predict}
            config = run_config(sections, [test, *inputs.files()], __name__) | {"prediction": name}
            folder = stack.enter_context(run_directory_lock("predict", config))
            for torn in folder.glob(".*.partial"):
                torn.unlink()
        yield broadcast_object(process, folder)
