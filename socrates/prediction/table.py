"""The table of predictions that every predictor writes, whatever it is."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from socrates.prediction.params import Predict
from socrates.survey.scales import scale, thin_scale
from socrates.survey.tables import PREDICTIONS


def predictions_table(
    scaled: pl.DataFrame,
    values: NDArray[np.float32],
    offsets: NDArray[np.int64],
    mass: NDArray[np.float32],
    excluded: dict[str, int],
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The predictions (``PREDICTIONS``) and their manifest, which counts the rows that are not in ``scaled`` by reason.

    The probabilities ``values`` lie one row after another; ``offsets`` [rows + 1] say where each begins, and the end.
    """
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
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
    """Rows that have a scale, large ones thinned, and the rows excluded by reason."""
    rows = table.drop_nulls("scale")
    large = {
        notation: thin_scale(scale(notation), params.max_options).notation
        for notation in rows["scale"].unique().to_list()
        if len(scale(notation).options) > params.max_options
    }
    rule = pl.when(pl.col("scale").is_in(list(large))).then(pl.col("scale_rule") + "+grid")
    thinned = rows.with_columns(scale=pl.col("scale").replace(large), scale_rule=rule.otherwise("scale_rule"))
    return thinned, {"no scale known": len(table) - len(rows)}
