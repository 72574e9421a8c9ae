"""Respondents per second whose answer distributions become known, against the log-likelihood of every option.

    python -m benchmarks.prediction_speed [--rounds 5]

A four-layer float32 model and rows of the real lengths, 32 respondents a scenario. The baseline computes a padded
row for every respondent and option, as evaluation harnesses do, with the fastest of several batch sizes and fewer
respondents, where each costs it the same. Nothing is reported before the numbers agreed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.timing import arguments, clocked, conditions, interleaved, ratio, table
from benchmarks.workload import REAL, Profile, cpu_model, rows, tokenizer
from socrates.model.encoding import Encoded
from socrates.model.tokenisation import Ids, end_token
from socrates.prediction.distributions import causal_model, predict_distributions

OURS, OPTIONS = "exact, shared", "every option a row"
SCALES = {"7-point": "1..7", "0-100": "0..100"}
PAD = 0
# Random weights put next to nothing on an answer; this much more on digits and the end makes answers common.
DIGIT_BIAS, END_BIAS = 8.0, 10.0
TOLERANCE = 1e-5  # of probabilities


@dataclass(frozen=True)
class Size:
    """How much is computed.

    Attributes:
        scenarios, respondents: of our way; ``respondents`` of each scenario.
        few: respondents of a baseline, by scale.
        batches: rows of a pass that a baseline may choose from.
        tokens: of one of our passes.
        tolerance: of probabilities, relative to a respondent's largest.
        profile: lengths of the prompts.
    """

    scenarios: int = 8
    respondents: int = 32
    few: tuple[int, int] = (32, 4)
    batches: tuple[int, ...] = (16, 64)
    tokens: int = 4096
    tolerance: float = TOLERANCE
    profile: Profile = REAL


class Bench:
    """The comparison on one model."""

    def __init__(self, model: PreTrainedModel, size: Size, rounds: int) -> None:
        self.words = tokenizer()
        self.model = speak_digits(model, self.words)
        self.size, self.rounds = size, rounds

    def scoring(self, scale: str) -> list[object]:
        """Scale, respondents per second of exact distributions and of the baseline, and their ratio."""
        size, model = self.size, self.model
        data = rows(size.profile, size.scenarios, size.respondents, SCALES[scale])
        few = range(size.few[list(SCALES).index(scale)])

        def shared() -> NDArray[np.float64]:
            return exact(model, self.words, data, SCALES[scale], size.tokens)

        theirs = [lambda b=b: by_option(model, data, few, b) for b in size.batches]
        worst = check_close(shared()[few], theirs[0](), OPTIONS, size.tolerance)
        print(f"{scale}: probabilities equal to {worst:.1e}", flush=True)
        ours, best = clocked(shared, model.device), clocked(fastest(theirs, model.device), model.device)
        ways = {"ours": lambda: ours() / len(data), "theirs": lambda: best() / len(few)}
        seconds = interleaved(ways, self.rounds)
        speeds = [1 / float(np.median(taken)) for taken in seconds.values()]
        return [scale, *speeds, ratio(seconds, "theirs", "ours")]


def speak_digits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Give a random model's output layer a bias towards digits and the end of the answer."""
    head = model.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0])
    bias[tokenizer.convert_tokens_to_ids(list("0123456789"))] = DIGIT_BIAS
    bias[end_token(tokenizer)] = END_BIAS
    head.bias = torch.nn.Parameter(bias.to(head.weight), requires_grad=False)
    return model


def exact(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Encoded, notation: str, tokens: int
) -> NDArray[np.float64]:
    """Probability of each option and its end, ``[rows, options]``: scenarios once, a trie of the answers."""
    given, allowed = predict_distributions(model, tokenizer, data, [notation] * len(data), tokens)
    return np.stack(list(given)).astype(np.float64) * allowed[:, None]


@torch.inference_mode()
def by_option(model: PreTrainedModel, data: Encoded, rows: Sequence[int], batch: int) -> NDArray[np.float64]:
    """The same by a padded row for every respondent and option, sorted by length.

    More than fair: logits are computed for the answers' positions only, and no text is tokenised.

    Args:
        batch: rows in a forward pass.
    """
    model = separate_rows(model)
    texts = [
        (np.concatenate([prompt, answer]), len(answer))
        for prompt in prompts(data, rows)
        for answer in data.answers
    ]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i][0]))
    result = np.zeros(len(texts))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = left_padded([texts[i][0] for i in chosen], model.device)
        width = max(texts[i][1] for i in chosen) + 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=width
        )
        steps = torch.log_softmax(out.logits[:, :-1].float(), dim=-1)
        picked = steps.gather(2, ids[:, -width + 1 :, None])[..., 0].cpu().numpy()
        for row, i in enumerate(chosen):  # all answers end at the last column
            result[i] = picked[row, -texts[i][1] :].sum(dtype=np.float64)
    return np.exp(result).reshape(len(rows), -1)


def separate_rows(model: PreTrainedModel) -> PreTrainedModel:
    """The language model with the attention of separate rows."""
    model = causal_model(model)
    model.set_attn_implementation("sdpa")
    return model


def prompts(data: Encoded, rows: Sequence[int]) -> list[Ids]:
    return [np.concatenate([data.prefix_ids(row), data.suffix_ids(row)]) for row in rows]


def left_padded(texts: Sequence[Ids], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask ``[n, longest]``."""
    width = max(len(text) for text in texts)
    ids, mask = np.full((len(texts), width), PAD), np.zeros((len(texts), width), dtype=np.int64)
    for row, text in enumerate(texts):
        ids[row, width - len(text) :], mask[row, width - len(text) :] = text, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def fastest(ways: Sequence[Callable[[], object]], device: torch.device) -> Callable[[], object]:
    """The way that took least time in one run after another that warms it up."""
    seconds = []
    for way in ways:
        way()
        seconds.append(clocked(way, device)())
    return ways[int(np.argmin(seconds))]


def check_close(ours: NDArray[np.float64], theirs: NDArray[np.float64], name: str, tolerance: float) -> float:
    """The largest difference of two tables of probabilities, relative to the largest of the row.

    Raises:
        SystemExit: it is above ``tolerance``.
    """
    difference = float((np.abs(ours - theirs) / ours.max(axis=1, keepdims=True)).max())
    if not difference <= tolerance:
        raise SystemExit(f"not reported: {name} differs from the exact distribution by {difference:.2g}")
    return difference


def main() -> None:
    args = arguments(__doc__, rounds=5).parse_args()
    started = time.perf_counter()
    torch.set_num_threads(1)  # on a shared machine the second core is not ours to count on
    print(conditions(args.rounds), flush=True)
    bench = Bench(cpu_model(), Size(), args.rounds)
    lines = [bench.scoring(scale) for scale in SCALES]
    print("\n" + table(["scale", OURS, OPTIONS, "times"], lines))
    print(f"\nrespondents per second; {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
