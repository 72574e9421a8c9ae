"""The adapter folded into its base model: one plain folder that transformers loads without PEFT.

The adapter was trained on the weights that NF4 *represents*, not on the base's original ones. So it
is added to the de-quantised weights, ``dequantise(NF4(W)) + (alpha / r) B A``: merged and adapter then
answer alike. Adding it to the original weights would give a third model that nobody has evaluated.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from socrates.core.errors import ModelError


@torch.no_grad()
def merged_weights(model: PeftModel, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every weight of the base with the adapter in it, on the CPU, under the base's own names.

    Args:
        model: a base with one LoRA adapter, quantised to NF4 or not.
        dtype: of the result; sums are made in float32.
    """
    weights: dict[str, torch.Tensor] = {}
    chance = torch.Generator(model.device).manual_seed(0)
    inside = ("lora_", ".base_layer.")
    for name, parameter in model.get_base_model().named_parameters():
        if not any(part in name for part in inside) and not hasattr(parameter, "quant_state"):
            weights[name] = parameter.detach().to("cpu", dtype)
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            lora: Any = module
            layer = lora.get_base_layer()
            total = _plain(layer)
            for adapter in lora.active_adapters:
                total = total + lora.get_delta_weight(adapter).float()
            weights[f"{name}.weight"] = _rounded(total, dtype, chance).cpu()
            if layer.bias is not None:
                weights[f"{name}.bias"] = layer.bias.detach().to("cpu", dtype)
        elif isinstance(module, Linear4bit) and not name.endswith(".base_layer"):
            weights[f"{name}.weight"] = _plain(module).to("cpu", dtype)
    return weights


def write_merged(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
) -> None:
    """Write the merged model and its tokenizer to ``folder``, as safetensors.

    Raises:
        ModelError: a weight of the architecture has no counterpart in ``model``.
    """
    config = copy.deepcopy(model.get_base_model().config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    with torch.device("meta"):  # shapes only: the weights come from the quantised model
        plain = AutoModelForCausalLM.from_config(config, trust_remote_code=False, dtype=dtype)
    _, unexpected = plain.load_state_dict(merged_weights(model, dtype), strict=False, assign=True)
    plain.tie_weights()
    absent = sorted(name for name, value in plain.named_parameters() if value.is_meta)
    if absent or unexpected:
        raise ModelError(
            f"{folder}: cannot be merged: {', '.join((absent or sorted(unexpected))[:3])} has no counterpart"
        )
    plain.generation_config = model.get_base_model().generation_config
    plain.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _plain(layer: Any) -> torch.Tensor:
    """The weight that a linear layer computes with, ``[out, in]``, in float32."""
    state = getattr(layer.weight, "quant_state", None)
    weight = layer.weight if state is None else dequantize_4bit(layer.weight.data, state)
    return weight.detach().float()


def _rounded(weight: torch.Tensor, dtype: torch.dtype, chance: torch.Generator) -> torch.Tensor:
    """A float32 tensor in ``dtype``; to bfloat16 up or down by chance, in the mean what it was.

    The base's weights are bfloat16 numbers already. To the nearest, a sum would be rounded back to them wherever
    the adapter changes less than half a step: most of an adapter of few steps, always in the same direction.
    """
    if dtype == torch.bfloat16:  # float32 cut after its first half
        noise = torch.randint(2**16, weight.shape, generator=chance, device=weight.device, dtype=torch.int32)
        weight = ((weight.contiguous().view(torch.int32) + noise) & -(2**16)).view(torch.float32)
    return weight.to(dtype)
