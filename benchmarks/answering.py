"""Ways to learn how a model's respondents answer: ours, and those a user of HF models has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.timing import clocked
from socrates.model.encoding import Encoded
from socrates.model.tokenisation import Ids, end_token
from socrates.prediction.distributions import causal_model, predict_distributions

PAD = 0
# Random weights put next to nothing on an answer; this much more on digits and the end makes answers common.
DIGIT_BIAS, END_BIAS = 8.0, 10.0
TOLERANCE = 1e-5  # of probabilities
SIGMAS = 5.0  # of a frequency among sampled answers


def speak_digits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Give a random model's output layer a bias towards digits and the end of the answer."""
    head = model.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0])
    bias[tokenizer.convert_tokens_to_ids(list("0123456789"))] = DIGIT_BIAS
    bias[end_token(tokenizer)] = END_BIAS
    head.bias = torch.nn.Parameter(bias.to(head.weight), requires_grad=False)
    return model


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The language model, any adapter's layers in it, with the attention of separate rows."""
    model = causal_model(model)
    model.set_attn_implementation("sdpa")
    return model


def prompts(data: Encoded, rows: Sequence[int]) -> list[Ids]:
    """The prompt of each row, scenario and persona."""
    return [np.concatenate([data.prefix_ids(row), data.suffix_ids(row)]) for row in rows]


def exact(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Encoded, notation: str, tokens: int
) -> NDArray[np.float64]:
    """Probability of each option and its end, ``[rows, options]``: scenarios once, a trie of the answers."""
    given, allowed = predict_distributions(model, tokenizer, data, [notation] * len(data), tokens)
    return np.stack(list(given)).astype(np.float64) * allowed[:, None]


@torch.inference_mode()
def by_option(model: PreTrainedModel, data: Encoded, rows: Sequence[int], batch: int) -> NDArray[np.float64]:
    """The same by a padded row for every respondent and option, sorted by length, as evaluation harnesses do.

    More than fair: logits are computed for the answers' positions only, and no text is tokenised.

    Args:
        batch: rows in a forward pass.
    """
    model = _plain(model)
    texts = [
        (np.concatenate([prompt, answer]), len(answer))
        for prompt in prompts(data, rows)
        for answer in data.answers
    ]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i][0]))
    result = np.zeros(len(texts))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = _padded([texts[i][0] for i in chosen], model.device, left=True)
        width = max(texts[i][1] for i in chosen) + 1
        # With the padding on the left, all answers end at the last column.
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=width
        )
        steps = torch.log_softmax(out.logits[:, :-1].float(), dim=-1)
        picked = steps.gather(2, ids[:, -width + 1 :, None])[..., 0].cpu().numpy()
        for place, i in enumerate(chosen):
            result[i] = picked[place, -texts[i][1] :].sum(dtype=np.float64)
    return np.exp(result).reshape(len(rows), -1)


@torch.inference_mode()
def by_cached_prompt(
    model: PreTrainedModel, data: Encoded, rows: Sequence[int], batch: int
) -> NDArray[np.float64]:
    """The same with each respondent's prompt computed once and its cache expanded over the options.

    No tool does this; it is the best one could write by hand without sharing scenarios.

    Args:
        batch: respondents at a time.
    """
    model = _plain(model)
    options = len(data.answers)
    answers, real = _padded(list(data.answers), model.device, left=False)
    order = sorted(
        range(len(rows)), key=lambda i: -(len(data.prefix_ids(rows[i])) + len(data.suffix_ids(rows[i])))
    )
    result = np.zeros((len(rows), options))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = _padded(prompts(data, [rows[i] for i in chosen]), model.device, left=True)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        first = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits
        cache.batch_repeat_interleave(options)
        spread = mask.repeat_interleave(options, 0)
        tokens, valid = answers.repeat(len(chosen), 1), real.repeat(len(chosen), 1)
        steps = torch.log_softmax(first[:, 0].float(), dim=-1).repeat_interleave(options, 0)
        scores = steps.gather(1, tokens[:, :1])
        if tokens.shape[1] > 1:
            after = spread.sum(1, keepdim=True) + torch.arange(tokens.shape[1] - 1, device=ids.device)
            logits = model(
                input_ids=tokens[:, :-1],
                attention_mask=torch.cat([spread, valid[:, :-1]], 1),
                position_ids=after,
                past_key_values=cache,
            ).logits
            steps = torch.log_softmax(logits.float(), dim=-1).gather(2, tokens[:, 1:, None])[..., 0]
            scores = scores + (steps * valid[:, 1:]).sum(1, keepdim=True)
        result[chosen] = scores.view(len(chosen), options).double().cpu().numpy()
    return np.exp(result)


@torch.inference_mode()
def sampled(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Encoded,
    rows: Sequence[int],
    draws: int,
    batch: int,
) -> list[list[tuple[int, ...]]]:
    """Answers drawn at temperature 1 with ``generate`` and its cache: tokens up to the end, ``[rows][draws]``.

    Args:
        batch: respondents at a time; prompts of like length lie together.
    """
    model = _plain(model)
    end = end_token(tokenizer)
    longest = max(len(answer) for answer in data.answers)
    order = sorted(
        range(len(rows)), key=lambda i: -(len(data.prefix_ids(rows[i])) + len(data.suffix_ids(rows[i])))
    )
    result: list[list[tuple[int, ...]]] = [[] for _ in rows]
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = _padded(prompts(data, [rows[i] for i in chosen]), model.device, left=True)
        out = _generate(model, ids, mask, end, longest, do_sample=True, top_k=0, num_return_sequences=draws)
        for place, sequence in enumerate(out[:, ids.shape[1] :].tolist()):
            stop = sequence.index(end) + 1 if end in sequence else len(sequence)
            result[chosen[place // draws]].append(tuple(sequence[:stop]))
    return result


@torch.inference_mode()
def greedy(model: PreTrainedModel, data: Encoded, rows: Sequence[int], new_tokens: int) -> list[list[int]]:
    """The seed project's evaluation: one row after another, greedily, always ``new_tokens`` tokens.

    Its model had not learned to end an answer and ran on to the limit.
    """
    model = _plain(model)
    texts = []
    for prompt in prompts(data, rows):
        ids, mask = _padded([prompt], model.device, left=True)
        texts.append(
            _generate(model, ids, mask, None, new_tokens, do_sample=False)[0, ids.shape[1] :].tolist()
        )
    return texts


def _generate(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, end: int | None, tokens: int, **how: Any
) -> torch.Tensor:
    return model.generate(
        input_ids=ids, attention_mask=mask, eos_token_id=end, pad_token_id=PAD, max_new_tokens=tokens, **how
    )


def _padded(texts: Sequence[Ids], device: torch.device, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask ``[n, longest]``."""
    width = max(len(text) for text in texts)
    ids = np.full((len(texts), width), PAD, dtype=np.int64)
    mask = np.zeros((len(texts), width), dtype=np.int64)
    for row, text in enumerate(texts):
        place = slice(width - len(text), width) if left else slice(0, len(text))
        ids[row, place], mask[row, place] = text, 1
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


def check_frequencies(ours: NDArray[np.float64], data: Encoded, draws: list[list[tuple[int, ...]]]) -> float:
    """How far the sampled answers' frequencies lie from the exact probabilities, in standard errors at most.

    Args:
        ours: ``[rows, options]`` of the sampled rows.

    Raises:
        SystemExit: more than ``SIGMAS``.
    """
    options = {tuple(answer.tolist()): place for place, answer in enumerate(data.answers)}
    counts = np.zeros(ours.shape[1])
    for answers in draws:
        for answer in answers:
            if answer in options:
                counts[options[answer]] += 1
    number = len(draws[0])
    expected = number * ours.sum(axis=0)
    spread = np.sqrt(number * (ours * (1 - ours)).sum(axis=0)) + 1.0  # one answer, for options nobody gives
    sigmas = float((np.abs(counts - expected) / spread).max())
    if not sigmas <= SIGMAS:
        raise SystemExit(
            f"not reported: sampled answers lie {sigmas:.1f} standard errors from the exact ones"
        )
    return sigmas


def sampling_error(ours: NDArray[np.float64], draws: int, people: int, rng: np.random.Generator) -> float:
    """Wasserstein-1 between a cell's distribution and that of ``draws`` sampled answers a respondent.

    Of the model's distribution given an allowed answer, on the scale put on [0, 1]; the mean over cells of
    ``people`` rows and 200 repetitions.
    """
    given = ours / ours.sum(axis=1, keepdims=True)
    cells = given[: len(given) // people * people].reshape(-1, people, given.shape[1])
    errors = []
    for cell in cells:
        counts = rng.multinomial(draws, cell, size=(200, people)).sum(axis=1)
        difference = counts / (draws * people) - cell.mean(axis=0)
        errors.append(np.abs(np.cumsum(difference, axis=1)[:, :-1]).sum(axis=1) / (given.shape[1] - 1))
    return float(np.mean(errors))
