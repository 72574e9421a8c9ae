"""Random Qwen2 models in NF4, made on the device one layer at a time."""

from __future__ import annotations

import copy

import torch
from accelerate import init_empty_weights
from bitsandbytes.nn import Linear4bit, Params4bit
from transformers import Qwen2Config, Qwen2ForCausalLM


def qwen_14b() -> Qwen2Config:
    """The shape of Qwen2.5-14B."""
    return Qwen2Config(
        vocab_size=152064,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=48,
        num_attention_heads=40,
        num_key_value_heads=8,
        max_position_embeddings=32768,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )


def nf4_model(config: Qwen2Config, device: torch.device, dtype: torch.dtype) -> Qwen2ForCausalLM:
    """A random model with its inner linear layers in NF4; no more than one of them is ever whole.

    At 14 billion parameters it takes 10 GB, where the weights in bfloat16 would take 28.
    """
    with init_empty_weights(include_buffers=False):
        model = Qwen2ForCausalLM(config)
    generator = torch.Generator(device).manual_seed(0)

    def drawn(shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype) * config.initializer_range

    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and module is not head:
            model.set_submodule(name, _quantised(module, drawn(module.weight.shape), dtype))
    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta:
            owner, _, field = name.rpartition(".")
            values = (
                drawn(parameter.shape) if parameter.dim() == 2 else torch.zeros_like(parameter, device=device)
            )
            if "norm" in owner:
                values += 1
            setattr(
                model.get_submodule(owner), field, torch.nn.Parameter(values.to(dtype), requires_grad=False)
            )
    model.is_loaded_in_4bit = True  # what PEFT and TRL look at
    return model.to(device).eval()


def _quantised(linear: torch.nn.Linear, weight: torch.Tensor, dtype: torch.dtype) -> Linear4bit:
    layer = Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        quant_storage=dtype,
        device="meta",
    )
    layer.support_avx512bf16_for_cpu = False  # see model.internals
    layer.weight = Params4bit(
        weight, requires_grad=False, quant_type="nf4", quant_storage=dtype, module=layer
    ).to(weight.device)
    return layer


def twin(model: Qwen2ForCausalLM) -> Qwen2ForCausalLM:
    """A copy for an adapter of its own, whose frozen weights are the same tensors."""
    shared: dict[int, object] = {id(parameter): parameter for parameter in model.parameters()}
    for module in model.modules():
        state = getattr(module, "quant_state", None)
        shared[id(state)] = state
    return copy.deepcopy(model, shared)
