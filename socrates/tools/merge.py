"""The adapter merged into its base model: one folder that transformers loads without PEFT, checked on test rows.

The adapter was trained on the weights that NF4 *represents*, not on the base's original ones. So it is added to
the de-quantised weights: merged and adapter then answer alike. Adding it to the original weights would give a third
model that nobody has evaluated.
"""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from socrates.core.errors import DataError, ModelError
from socrates.core.files import atomic_folder, json_text, read_json, read_table
from socrates.core.params import load
from socrates.model import loading
from socrates.model.encoding import encode
from socrates.model.params import Model, Prompt
from socrates.prediction.distributions import predict_distributions
from socrates.prediction.params import Predict
from socrates.prediction.predict import usable_rows
from socrates.survey.tables import SCALED_RESPONSES

# Allowed distance of two distributions in the mean over rows. bfloat16 keeps 8 bits of a weight, and the largest of a
# thousand differences grows with a model's depth.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.02}


def merge(project: Path, out: Path, rows: int = 100, tolerance: float | None = None) -> dict[str, Any]:
    """Write the merged model to ``out``, after both forms have answered ``rows`` drawn test rows alike.

    Returns the check: the total variation distance of the distributions over the allowed answers (mean and largest over
    rows), the mean difference of the allowed answers' probability, and the tolerance of both means (None:
    :data:`TOLERANCE` of the machine's dtype). Where it is exceeded nothing is written: :class:`ModelError`.
    """
    path, test = project / "params.yaml", project / "data/splits/test.parquet"
    params, prompt, predict = load(Model, path), load(Prompt, path), load(Predict, path)
    base, adapter = project / "models/base", project / "models/adapter"
    tokenizer, table = loading.load_tokenizer(base), read_table(test, SCALED_RESPONSES)
    encoded = encode(table, tokenizer, prompt.layout, prompt.format)
    scaled, data, _ = usable_rows(table, encoded, prompt, predict)
    if not len(scaled):
        raise DataError(f"{test}: no row has a known scale, so nothing can be compared")
    drawn = np.random.default_rng(0).permutation(len(scaled))[:rows]
    data, scales = data.take(drawn), scaled["scale"].gather(drawn).to_list()
    asked = (tokenizer, data, scales, predict.tokens_per_batch)
    expected = predict_distributions(loading.load_model(base, adapter, params), *asked)
    gc.collect()  # two models of 14 billion parameters need not fit; a quantised layer and its weights are a cycle
    dtype = loading.compute_dtype()
    allowed = TOLERANCE[dtype] if tolerance is None else tolerance
    with atomic_folder(out) as folder:
        merged_model(base, adapter, params, dtype).save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        where = {"device_map": {"": loading.device()}, "trust_remote_code": False, "use_safetensors": True}
        merged = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, **where)
        got = predict_distributions(merged, *asked)
        distances = [np.abs(a - b).sum() / 2 for a, b in zip(expected[0], got[0], strict=True)]
        mean, largest = float(np.mean(distances)), float(np.max(distances))
        mass = float(np.abs(expected[1] - got[1]).mean())
        if not max(mean, mass) <= allowed:
            raise ModelError(
                f"{out}: not written; the answers of merged and adapter differ by {max(mean, mass):.2g} in the mean "
                f"over {len(drawn)} test rows (at most {largest:.2g}), allowed is {allowed:.2g}; raise --tolerance if "
                "that will do"
            )
        check: dict[str, Any] = {"rows": len(distances), "mean_distance": mean, "largest_distance": largest}
        check |= {"mean_mass_difference": mass, "tolerance": allowed}
        check |= {"dtype": str(dtype).removeprefix("torch."), "quantization": params.quantization}
        hashes = {"base": read_json(base / "manifest.json"), "adapter": loading.file_hashes(adapter)}
        (folder / "merge.json").write_text(json_text({**hashes, "check": check}))
    return check


def merged_model(base: Path, adapter: Path, params: Model, dtype: torch.dtype) -> PreTrainedModel:
    """The base model with the adapter in its weights, on the CPU; sums are made there in float32, 4 bytes a weight."""
    model: Any = loading.load_base(base, params)
    if params.quantization == "nf4":
        try:
            model = model.dequantize()  # on the device of the packed weights
        except torch.OutOfMemoryError:
            told = "the GPU has no room for the unpacked weights, 2 bytes each; merge on the CPU"
            raise ModelError(f"{base}: {told}: CUDA_VISIBLE_DEVICES= SOCRATES_CPU=1 socrates merge") from None
    model = loading.with_adapter(model.to("cpu", torch.float32), adapter, base)
    return round_weights(model.merge_and_unload(), dtype)


@torch.no_grad()
def round_weights(model: Any, dtype: torch.dtype) -> PreTrainedModel:
    """A float32 model in ``dtype``; by stochastic rounding (unbiased) in bfloat16.

    The base's weights are bfloat16 numbers already. Rounded to the nearest, a sum would fall back to them wherever
    the adapter changes less than half a step: most of an adapter of few steps, always in the same direction.
    """
    if dtype == torch.bfloat16:  # float32 cut after its first half
        generator = torch.Generator().manual_seed(0)
        for weight in model.parameters():
            noise = torch.randint(2**16, weight.shape, generator=generator, dtype=torch.int32)
            bits = (weight.contiguous().view(torch.int32) + noise) & -(2**16)
            weight.copy_(bits.view(torch.float32))
    rounded: PreTrainedModel = model.to(dtype)
    return rounded
