"""What the benchmarks compute on: rows of random tokens with real lengths, and random models."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import init_empty_weights
from bitsandbytes.nn import Params4bit
from transformers import BitsAndBytesConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations import replace_with_bnb_linear

from socrates.model.encoding import Encoded
from socrates.model.internals import disable_avx512_repack
from socrates.model.jagged import JaggedArray
from socrates.model.prefix_sharing import IGNORED
from socrates.model.tokenisation import end_token, token_ids
from socrates.survey.scales import scale
from socrates.tiny_model.build import train_tokenizer
from socrates.tools.estimate import ModelDims

WORDS = (300, 1000)  # random tokens are drawn from here; the tokenizer's own lie below


@dataclass(frozen=True)
class Profile:
    """Lengths of prompts in tokens.

    Attributes:
        shared: of a scenario, and its standard deviation over scenarios.
        own: of a persona with the response header, and its standard deviation over respondents.
        group: respondents of a scenario in one forward pass.
    """

    name: str
    shared: int
    own: int
    group: int
    shared_spread: float = 0
    own_spread: float = 0


# Means of the real rows under Qwen's tokenizer. The spreads are those of 2,780 of its rows (20 studies).
REAL = Profile("real rows, 147/44", 147, 44, 32, shared_spread=68, own_spread=10)
PROFILES = [
    REAL,
    Profile("250/60", 250, 60, 32),
    Profile("100/200", 100, 200, 32),
    Profile("real rows, nothing shared", 147, 44, 1, shared_spread=68, own_spread=10),
]


@functools.cache
def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer in which, as in Qwen's, every digit is a token."""
    return train_tokenizer(["0 1 2 3 4 5 6 7 8 9"], WORDS[0])


def config(dims: ModelDims, **settings: float) -> Qwen2Config:
    """A Qwen2 of this shape."""
    widths = {"hidden_size": dims.hidden, "intermediate_size": dims.intermediate, "vocab_size": dims.vocab}
    heads = {"num_attention_heads": dims.heads, "num_key_value_heads": dims.kv_heads}
    depth = {"num_hidden_layers": dims.layers, "tie_word_embeddings": dims.tied}
    return Qwen2Config(**widths, **heads, **depth, **settings)


def small(layers: int = 4) -> Qwen2Config:
    """A shape for the CPU; wide weights, so that the model says something."""
    return config(ModelDims(layers, 128, 384, 1024, 4, 2, tied=False), initializer_range=0.06)


def cpu_model() -> Qwen2ForCausalLM:
    """The small model in float32, the same at every call."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(small()).float().eval()


def nf4_model(config: Qwen2Config, device: torch.device, dtype: torch.dtype) -> Qwen2ForCausalLM:
    """A random model with its inner linear layers in NF4; no more than one of them is ever whole.

    At 14 billion parameters it takes 10 GB, where the weights in bfloat16 would take 28.
    """
    with init_empty_weights(include_buffers=False):
        model = Qwen2ForCausalLM(config)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype,
    )
    replace_with_bnb_linear(model, ["lm_head"], nf4)
    disable_avx512_repack(model)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in list(model.named_parameters()):
        owner, _, field = name.rpartition(".")
        values = torch.full(parameter.shape, float("norm" in owner), device=device, dtype=dtype)
        if parameter.dim() == 2:
            values.normal_(0, config.initializer_range, generator=generator)
        made: torch.nn.Parameter = torch.nn.Parameter(values, requires_grad=False)
        if isinstance(parameter, Params4bit):
            made = Params4bit(values, requires_grad=False, **parameter.__dict__).to(device)
        setattr(model.get_submodule(owner), field, made)
    model.is_loaded_in_4bit = True  # what PEFT and TRL look at
    return model.to(device).eval()


def twin(model: Qwen2ForCausalLM) -> Qwen2ForCausalLM:
    """A copy for an adapter of its own, whose frozen weights are the same tensors."""
    shared: dict[int, object] = {id(parameter): parameter for parameter in model.parameters()}
    for module in model.modules():
        state = getattr(module, "quant_state", None)
        shared[id(state)] = state
    return copy.deepcopy(model, shared)


def plain_rows(data: Encoded, order: np.ndarray) -> list[dict[str, list[int]]]:
    """Ids and labels of each row in full, loss on the answer alone, for TRL's own collator."""
    parts = [([*data.prefix_ids(row), *data.suffix_ids(row)], data.answer_ids(row).tolist()) for row in order]
    return [{"input_ids": a + b, "labels": [IGNORED] * len(a) + b} for a, b in parts]


def rows(profile: Profile, scenarios: int, respondents: int, notation: str, seed: int = 0) -> Encoded:
    """Respondents who each read one scenario and answer on a scale, scenario by scenario.

    Args:
        respondents: of each scenario.
        notation: of the scale, such as ``1..7``.

    Returns:
        ``scenarios * respondents`` rows; row r reads scenario ``r // respondents``.
    """
    rng = np.random.default_rng(seed)
    words = tokenizer()
    count = scenarios * respondents
    end = np.int32(end_token(words))
    options = token_ids(words, [str(option) for option in scale(notation).options])

    def texts(number: int, mean: int, spread: float) -> list[np.ndarray]:
        lengths = np.full(number, mean)
        if spread:
            shape = (mean / spread) ** 2
            lengths = np.maximum(rng.gamma(shape, mean / shape, number).round().astype(int), 2)
        return [rng.integers(*WORDS, length).astype(np.int32) for length in lengths]

    return Encoded(
        "scenario_first",
        JaggedArray.from_sequences(texts(scenarios, profile.shared, profile.shared_spread), np.int32),
        JaggedArray.from_sequences(texts(count, profile.own, profile.own_spread), np.int32),
        JaggedArray.from_sequences([np.append(option, end) for option in options], np.int32),
        np.repeat(np.arange(scenarios), respondents),
        np.arange(count),
        rng.integers(len(options), size=count),
    )
