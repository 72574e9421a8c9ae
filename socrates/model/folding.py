"""LoRA layers folded into the weights they adapt, so that a small model answers without importing PEFT.

The adapted layer computes W x + s B A x, so W + s B A is the same layer (Hu et al. 2021, section 4.1),
up to the rounding of its floating-point type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from socrates.core.errors import ModelError
from socrates.core.files import read_json

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


def adapter_config(adapter: Path) -> dict[str, Any]:
    """The ``adapter_config.json`` of an adapter folder.

    Raises:
        ModelError: the folder holds none that can be read.
    """
    mend = "fetch the adapter again, or make one with dvc repro train"
    return read_json(adapter / "adapter_config.json", mend, ModelError)


def foldable(config: dict[str, Any]) -> bool:
    """Whether an adapter is plain LoRA: one rank and one alpha, no biases, no layers trained whole."""
    variants = ("use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "modules_to_save")
    patterns = ("rank_pattern", "alpha_pattern", "layer_replication", "trainable_token_indices")
    return (
        config.get("peft_type") == "LORA"
        and config.get("bias", "none") == "none"
        and not any(config.get(key) for key in (*variants, *patterns, "target_parameters", "arrow_config"))
    )


@torch.no_grad()
def fold(model: torch.nn.Module, adapter: Path) -> None:
    """Add a plain LoRA adapter to the weights of an unquantised model, in place.

    Raises:
        ModelError: the weights are missing or damaged, or name a layer that the model lacks or that has
            another shape there.
    """
    config = adapter_config(adapter)
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    try:
        weights = load_file(adapter / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{adapter / WEIGHTS}: not readable ({error}); fetch or train it again") from None
    layers = sorted(name.removesuffix(".lora_A.weight") for name in weights if ".lora_A." in name)
    if len(weights) != 2 * len(layers):
        raise ModelError(f"{adapter / WEIGHTS}: holds more than LoRA's A and B; it cannot be folded in")
    for layer in layers:
        name = layer.removeprefix(PREFIX)
        try:
            weight = model.get_parameter(f"{name}.weight")
            a, b = (weights[f"{layer}.lora_{side}.weight"].to(weight.device) for side in "AB")
            weight.add_((scale * (b.float() @ a.float())).to(weight.dtype))
        except (AttributeError, KeyError, RuntimeError):
            raise ModelError(f"{adapter}: not an adapter of this model (layer {name})") from None
