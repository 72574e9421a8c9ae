"""The merged model, checked: it must give the answer distributions of base and adapter."""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from socrates.core.errors import DataError, ModelError
from socrates.core.files import atomic_folder, json_text, read_json
from socrates.model.encoding import Encoded, encode
from socrates.model.jagged import JaggedArray
from socrates.model.loading import compute_dtype, device, file_hashes, load_model, load_tokenizer
from socrates.model.params import Model, Prompt
from socrates.prediction.distributions import predict_distributions
from socrates.prediction.params import Predict
from socrates.prediction.predict import usable_rows
from socrates.tools.merge_weights import write_merged

# Largest difference of a probability that is allowed. bfloat16 keeps 8 bits of a weight.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}


@dataclass(frozen=True)
class Merged:
    """What a merge was checked with.

    Attributes:
        rows: test rows compared.
        largest_difference: of the probability of an allowed answer, given that the answer is allowed.
        largest_mass_difference: of the probability of all allowed answers together.
        tolerance: that both had to keep.
        dtype: of the merged weights.
        quantization: of the base that the adapter was trained on; with ``nf4`` the merged weights are
            the de-quantised ones plus the adapter.
    """

    rows: int
    largest_difference: float
    largest_mass_difference: float
    tolerance: float
    dtype: str
    quantization: str


def merge(
    base: Path,
    adapter: Path,
    out: Path,
    table: pl.DataFrame,
    model_params: Model,
    prompt: Prompt,
    predict: Predict,
    rows: int = 100,
    tolerance: float | None = None,
    seed: int = 0,
) -> Merged:
    """Write the merged model to ``out``, after both forms have answered ``rows`` rows alike.

    Args:
        table: rows to compare on (``SCALED_RESPONSES``); ``rows`` of them are drawn with ``seed``.
        tolerance: None: :data:`TOLERANCE` of the machine's dtype.

    Raises:
        ModelError: the two forms differ by more than the tolerance; nothing is written then.
        DataError: no row can be compared.
    """
    dtype = compute_dtype()
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    tokenizer = load_tokenizer(base)
    scaled, data, _ = usable_rows(table, encode(table, tokenizer, prompt.layout), prompt, predict)
    if not len(scaled):
        raise DataError("data/splits/test.parquet: no row has a known scale, so nothing can be compared")
    drawn = np.random.default_rng(seed).permutation(len(scaled))[:rows]
    data, scales = data.take(drawn), scaled["scale"].gather(drawn).to_list()
    model = load_model(base, adapter, model_params)
    assert isinstance(model, PeftModel)
    expected, mass = predict_distributions(model, tokenizer, data, scales, predict.tokens_per_batch)
    with atomic_folder(out) as folder:
        write_merged(model, tokenizer, folder, dtype)
        del model  # two models of 14 billion parameters need not fit at once
        gc.collect()  # a quantised layer and its weights refer to each other
        got, got_mass = _answers(folder, tokenizer, data, scales, predict.tokens_per_batch, dtype)
        found = Merged(
            rows=len(drawn),
            largest_difference=max(float(np.abs(a - b).max()) for a, b in zip(expected, got, strict=True)),
            largest_mass_difference=float(np.abs(mass - got_mass).max()),
            tolerance=tolerance,
            dtype=str(dtype).removeprefix("torch."),
            quantization=model_params.quantization,
        )
        worst = max(found.largest_difference, found.largest_mass_difference)
        if not worst <= tolerance:
            raise ModelError(
                f"{out}: not written; merged and adapter differ by {worst:.2g} in a probability on "
                f"{len(drawn)} test rows, allowed is {tolerance:.2g}; raise --tolerance if that will do"
            )
        origin = {
            "base": read_json(base / "manifest.json"),
            "adapter": file_hashes(adapter),
            "check": asdict(found),
        }
        (folder / "merge.json").write_text(json_text(origin))
    return found


def _answers(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    data: Encoded,
    scales: list[str],
    tokens_per_batch: int | None,
    dtype: torch.dtype,
) -> tuple[JaggedArray, NDArray[np.float32]]:
    """The distributions under the model in ``folder``, loaded as anyone would load it."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, device_map={"": device()}, trust_remote_code=False, use_safetensors=True
    )
    return predict_distributions(model, tokenizer, data, scales, tokens_per_batch)
