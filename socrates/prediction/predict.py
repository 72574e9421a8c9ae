"""Answer distributions of a table of responses, by all processes of the stage."""

import contextlib
import functools
import shutil
from collections.abc import Callable
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


@dataclass(frozen=True)
class PredictionInputs:
    """Which model predicts, and how: folders of base and adapter (None: the base model alone), sections of params."""

    base: Path
    adapter: Path | None
    model: Model
    prompt: Prompt
    predict: Predict

    @functools.cached_property
    def loaded(self) -> Any:
        """The model, ready to score."""
        return load_model(self.base, self.adapter, self.model)


def usable_rows(
    table: pl.DataFrame, data: Encoded, prompt: Prompt, params: Predict
) -> tuple[pl.DataFrame, Encoded, dict[str, int]]:
    """Rows that have a scale and fit the context, with their part of ``data``, and how many do not, by reason."""
    rows, excluded = thin_scales(table.with_row_index("row"), params)
    data = data.take(rows["row"].cast(pl.Int64).to_numpy())
    fits = data.lengths() <= prompt.max_length
    excluded["longer than prompt.max_length"] = int((~fits).sum())
    return rows.drop("row").filter(pl.Series(fits)), data.take(np.flatnonzero(fits)), excluded


def predict_split(
    test: Path,
    inputs: PredictionInputs,
    out: Path,
    process: Process,
    change: Callable[[pl.DataFrame], tuple[pl.DataFrame, dict[str, int]]] | None = None,
    restore: Callable[[pl.DataFrame], pl.DataFrame] = lambda predictions: predictions,
) -> str:
    """Predict ``test`` (``SCALED_RESPONSES``) with all processes; returns one line about it (on the first).

    Args:
        out: gets predictions.parquet and manifest.json.
        change: of the table before, giving the rows that it lost by reason; ``restore``: of the predictions.
    """
    require_gpu(inputs.base)
    init_process_group(process)
    table = read_table(test, SCALED_RESPONSES)
    prompt, lost = inputs.prompt, dict[str, int]()
    with contextlib.ExitStack() as stack:
        folder = Path()  # of the shards: the first process locks it for all
        if process.is_main:
            files = [path for path in inputs.adapter.iterdir() if path.is_file()] if inputs.adapter else []
            sections = {"model": inputs.model, "prompt": prompt, "predict": inputs.predict}
            config = run_config(sections, [test, inputs.base / "manifest.json", *files], __name__)
            folder = stack.enter_context(run_directory_lock("predict", config | {"prediction": out.name}))
        folder = broadcast_object(process, folder)
        if change:
            table, lost = change(table)
            data = encode(table, load_tokenizer(inputs.base), prompt.layout, prompt.format)
        else:
            data = tokenised([test], inputs.base, prompt.layout, prompt.format)
        rows, data, excluded = usable_rows(table, data, prompt, inputs.predict)
        excluded = lost | excluded
        plan = ScoringPlan(load_tokenizer(inputs.base), data, rows["scale"].to_list())
        shards = cut_shards(list(plan.batches(inputs.predict.tokens_per_batch)), len(plan.rows))
        compute_shards(plan, shards, folder, process, lambda: inputs.loaded, f"predict {out.name}")
        barrier(process)
        if not process.is_main:
            return ""
        scored = plan.expand(read_shard(folder, number) for number in range(len(shards)))
        found = scored.probabilities
        predictions, manifest = predictions_table(rows, found.values, found.offsets, scored.mass, excluded)
        with atomic_folder(out) as partial:
            write_table(partial / "predictions.parquet", restore(predictions))
            write_json(partial / "manifest.json", manifest)
        shutil.rmtree(folder)
    reasons = ", ".join(f"{reason} {count}" for reason, count in excluded.items() if count)
    return f"{len(predictions):,} of {len(table):,} rows; excluded: {reasons or 'none'}"
