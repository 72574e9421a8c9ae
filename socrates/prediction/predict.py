"""A table of responses in, a table of answer distributions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from socrates.model.jagged import Ragged
from socrates.model.loading import load_model, load_tokenizer
from socrates.model.params import Model, Prompt
from socrates.model.tokenisation import Encoded, encode
from socrates.prediction.distributions import Work, distributions
from socrates.prediction.params import Predict
from socrates.survey.scales import grid, scale
from socrates.survey.tables import PREDICTIONS


def predict_table(
    table: pl.DataFrame,
    base: Path,
    adapter: Path | None,
    model_params: Model,
    prompt: Prompt,
    params: Predict,
    progress: Callable[[Iterable[Work]], Iterable[Work]] = iter,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Answer distributions of all rows of a responses table that can have one.

    Args:
        table: the rows to predict (``SCALED_RESPONSES``); their answers are carried along, never read by
            the model.
        adapter: an adapter folder, or None for the base model alone.

    Returns:
        The predictions (``PREDICTIONS``) and a manifest with the rows excluded by reason and the
        rows by scale rule.
    """
    tokenizer = load_tokenizer(base)
    data = encode(table, tokenizer, prompt.layout)
    scaled, data, excluded = usable_rows(table, data, prompt, params)
    model = load_model(base, adapter, model_params)
    answers = distributions(
        model, tokenizer, data, scaled["scale"].to_list(), params.tokens_per_batch, progress
    )
    return predictions_table(scaled, *answers, excluded)


def usable_rows(
    table: pl.DataFrame, data: Encoded, prompt: Prompt, params: Predict
) -> tuple[pl.DataFrame, Encoded, dict[str, int]]:
    """Rows that have a scale and fit the context, encoded, and the rows excluded by reason.

    Args:
        data: the encoding of ``table``.
    """
    scaled, excluded = thin_scales(table.with_row_index("row"), params)
    data = data.take(scaled["row"].cast(pl.Int64).to_numpy())
    fits = data.lengths() <= prompt.max_length
    excluded["longer than prompt.max_length"] = int((~fits).sum())
    return scaled.drop("row").filter(pl.Series(fits)), data.take(np.flatnonzero(fits)), excluded


def predictions_table(
    scaled: pl.DataFrame, probabilities: Ragged, mass: NDArray[np.float32], excluded: dict[str, int]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The predictions (``PREDICTIONS``) and their manifest."""
    lists = pa.LargeListArray.from_arrays(pa.array(probabilities.offsets), pa.array(probabilities.values))
    predictions = scaled.with_columns(
        probabilities=pl.Series(lists, dtype=pl.List(pl.Float32)),
        allowed_mass=pl.Series(mass, dtype=pl.Float32),
    ).select(*PREDICTIONS)
    rules = predictions["scale_rule"].value_counts().sort("scale_rule")
    manifest = {
        "rows": len(predictions),
        "excluded": excluded,
        "scale_rules": dict(rules.iter_rows()),
        "format_validity": float(np.mean(mass)) if len(mass) else None,
    }
    return predictions, manifest


def thin_scales(table: pl.DataFrame, params: Predict) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows that have a scale, large ones thinned or excluded, and the rows excluded by reason."""
    rows = table.drop_nulls("scale")
    large = {
        notation: grid(scale(notation), params.max_options)
        for notation in rows["scale"].unique().to_list()
        if len(scale(notation).options) > params.max_options
    }
    is_large = rows["scale"].is_in(list(large))
    excluded = {"no scale known": len(table) - len(rows), "more than predict.max_options options": 0}
    if params.large_scales == "exclude":
        excluded["more than predict.max_options options"] = int(is_large.sum())
        return rows.filter(~is_large), excluded
    return rows.with_columns(
        scale=pl.col("scale").replace({name: thinned.notation for name, thinned in large.items()}),
        scale_rule=pl.when(is_large).then(pl.col("scale_rule") + "+grid").otherwise("scale_rule"),
    ), excluded
