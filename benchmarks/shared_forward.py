"""Training rows per second with scenarios computed once, against padded rows.

    python -m benchmarks.shared_forward [--rounds 7]

Forward and backward of the tiny default model in float32, answer logits only on both sides, the two
ways in turn in one process. Prints the medians and the ratio of each profile, after checking that
both give the same logits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from socrates.model.prefix_sharing import branch_offsets, pack, shared_attention

# name -> shared tokens, own tokens, respondents of a scenario
PROFILES = {
    "default (85/50), G 2": (85, 50, 2),
    "real mean (147/44), G 32": (147, 44, 32),
    "250/60, G 32": (250, 60, 32),
    "100/200, G 32": (100, 200, 32),
    "147/44, G 1": (147, 44, 1),
}
ROWS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config).float()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {ROWS} rows, {rounds} rounds in turn"
    )
    print("| profile | padded rows, s | shared, s | ratio (median of rounds) |\n|---|---|---|---|")
    for name, (stem, own, group) in PROFILES.items():
        ratios, padded_s, shared_s = compare(model, stem, own, group, rounds)
        print(f"| {name} | {np.median(padded_s):.3f} | {np.median(shared_s):.3f} | {np.median(ratios):.2f} |")


def compare(
    model: Qwen2ForCausalLM, stem: int, own: int, group: int, rounds: int
) -> tuple[list[float], list[float], list[float]]:
    """Ratios and seconds of each round."""
    rng = np.random.default_rng(0)
    stems = [rng.integers(3, 1000, stem).astype(np.int32) for _ in range(ROWS // group)]
    branches = [rng.integers(3, 1000, own).astype(np.int32) for _ in range(ROWS)]
    of_branch = [row // group for row in range(ROWS)]
    packed = pack(stems, branches, of_branch)
    last = torch.from_numpy(branch_offsets(stems, branches) + own - 1)
    rows = np.stack([np.concatenate([stems[s], b]) for s, b in zip(of_branch, branches, strict=True)])
    padded = torch.from_numpy(rows.astype(np.int64))

    def plain() -> torch.Tensor:
        return model.lm_head(model.model(input_ids=padded, use_cache=False).last_hidden_state[:, -1])

    def shared() -> torch.Tensor:
        with shared_attention(model):
            return model.lm_head(model.model(**packed, use_cache=False).last_hidden_state[0, last])

    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(plain(), shared(), atol=1e-4, rtol=1e-4)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for ways, compute in zip(seconds, (plain, shared), strict=True):
            ways.append(timed(model, compute))
    padded_s, shared_s = (ways[1:] for ways in seconds)  # the first round warms up
    return [a / b for a, b in zip(padded_s, shared_s, strict=True)], padded_s, shared_s


def timed(model: Qwen2ForCausalLM, compute: Callable[[], torch.Tensor]) -> float:
    """Seconds of one forward and backward."""
    model.zero_grad()
    started = time.perf_counter()
    compute().square().sum().backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
