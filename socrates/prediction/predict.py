"""A table of responses in, a table of answer distributions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.model.encoding import Encoded, encode
from socrates.model.loading import load_model, load_tokenizer
from socrates.model.params import Model, Prompt
from socrates.prediction.distributions import Work, distributions
from socrates.prediction.params import Predict
from socrates.prediction.table import predictions_table, thin_scales


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
    probabilities, mass = distributions(
        model, tokenizer, data, scaled["scale"].to_list(), params.tokens_per_batch, progress
    )
    return predictions_table(scaled, probabilities.values, probabilities.offsets, mass, excluded)


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
