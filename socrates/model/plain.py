"""The built-in model for answering alone, in plain torch: importing transformers takes longer than an answer.

The same weights and the same packed trees as ``model.shared`` gives transformers' Qwen2, which stays what
trains, what a pipeline predicts with, and what every other model is; a test holds the two to each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

from socrates.core.errors import ModelError
from socrates.model.prefix_sharing import attention

Config = dict[str, Any]


def readable(folder: Path) -> bool:
    """Whether a folder holds the kind of model that is read here: a Qwen2 in one file, its tokenizer whole."""
    if not (folder / "config.json").exists() or not (folder / "model.safetensors").exists():
        return False
    try:
        config = json.loads((folder / "config.json").read_text())
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
        return (
            config["model_type"] == "qwen2"
            and config["hidden_act"] == "silu"
            and not config["use_sliding_window"]
            and config["rope_parameters"]["rope_type"] == "default"
            and "quantization_config" not in config
            and tokenizer["tokenizer_class"] == "TokenizersBackend"
            and isinstance(tokenizer["eos_token"], str)
            and (folder / "tokenizer.json").exists()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


class PlainTokenizer:
    """What ``model.encoding`` needs of a tokenizer, from ``tokenizer.json``."""

    def __init__(self, folder: Path) -> None:
        self.name_or_path = str(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        end = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
        self.eos_token_id = self.tokenizer.token_to_id(end)

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        """Ids of each text, without special tokens."""
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return {"input_ids": [text.ids for text in encoded]}


class Norm(nn.Module):
    """Root mean square normalisation."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))


class Attention(nn.Module):
    """Rotary, grouped-query attention over a packed tree."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        size, heads, keys = (config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
        self.head_size = config.get("head_dim") or size // heads
        self.q_proj = nn.Linear(size, heads * self.head_size)
        self.k_proj = nn.Linear(size, keys * self.head_size)
        self.v_proj = nn.Linear(size, keys * self.head_size)
        self.o_proj = nn.Linear(heads * self.head_size, size, bias=False)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, tree: Any) -> torch.Tensor:
        def heads(layer: nn.Linear) -> torch.Tensor:
            return layer(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)

        def turned(t: torch.Tensor) -> torch.Tensor:
            first, second = t.chunk(2, dim=-1)
            return t * cosine + torch.cat([-second, first], dim=-1) * sine

        query, key = turned(heads(self.q_proj)), turned(heads(self.k_proj))
        mixed, _ = attention(self, query, key, heads(self.v_proj), None, self.head_size**-0.5, tree=tree)
        return self.o_proj(mixed.flatten(2))


class Mlp(nn.Module):
    """Gated linear unit."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        size, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """A decoder layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(config), Mlp(config)
        self.input_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.post_attention_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, tree: Any) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine, tree)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """All layers; the names of the weights are those of the safetensors file."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.theta = float(config["rope_parameters"]["rope_theta"])
        self.head_size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, tree: Any, use_cache: bool = False
    ) -> SimpleNamespace:
        even = torch.arange(0, self.head_size, 2, dtype=torch.float32)
        frequency = 1 / self.theta ** (even / self.head_size)
        angle = position_ids[0, :, None].float() * frequency.repeat(2)
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin(), tree)
        return SimpleNamespace(last_hidden_state=self.norm(x))


class PlainQwen2(nn.Module):
    """A Qwen2 in float32 on the CPU, with what ``prediction.distributions`` asks of a model.

    Raises:
        ModelError: the weights are damaged or are not those of the config.
    """

    reads_trees = True  # and nothing else: it need not be told to

    def __init__(self, folder: Path) -> None:
        super().__init__()
        config = json.loads((folder / "config.json").read_text())
        self.config = SimpleNamespace(**config)
        self.device = torch.device("cpu")
        # Not on the meta device, whose first use imports the compiler: slower than a small model's random start.
        self.model = Backbone(config)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        path = folder / "model.safetensors"
        try:
            weights = {name: tensor.float() for name, tensor in load_file(path).items()}
            if config["tie_word_embeddings"]:
                weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
            self.load_state_dict(weights, assign=True)
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            detail = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{path}: the model cannot be loaded ({detail}); run dvc repro, or dvc pull"
            ) from None

    @property
    def base_model(self) -> Backbone:
        """The layers below the vocabulary."""
        return self.model

    def get_output_embeddings(self) -> nn.Linear:
        """The layer onto the vocabulary."""
        return self.lm_head
