"""What the benchmarks compute on: rows of random tokens with real lengths, and small models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from socrates.model.encoding import Encoded
from socrates.model.jagged import JaggedArray
from socrates.model.prefix_sharing import IGNORED
from socrates.model.tokenisation import end_token, token_ids
from socrates.survey.scales import scale
from socrates.tiny_model.build import train_tokenizer

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


def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer in which, as in Qwen's, every digit is a token."""
    return train_tokenizer(["0 1 2 3 4 5 6 7 8 9"], WORDS[0])


def config(layers: int = 4) -> Qwen2Config:
    """A small Qwen2 for the CPU."""
    return Qwen2Config(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        initializer_range=0.06,
    )


def cpu_model() -> Qwen2ForCausalLM:
    """The small model in float32, the same at every call."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config()).float().eval()


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
