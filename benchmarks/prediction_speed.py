"""Respondents per second whose answer distributions become known, against the log-likelihood of every option.

The baseline computes a padded row for every respondent and option, as evaluation harnesses do, with the fastest of
several batch sizes and fewer respondents, where each costs it the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BatchEncoding, PreTrainedModel

from benchmarks.plans import Plan, random_model
from benchmarks.timing import Line, clocked, interleaved, line, ratio
from benchmarks.workload import rows, tokenizer
from socrates.model.encoding import Encoded
from socrates.model.tokenisation import Ids, end_token
from socrates.prediction.distributions import causal_model, predict_distributions

OURS, OPTIONS = "exact, shared", "every option a row"
SCALES = {"7-point": "1..7", "0-100": "0..100"}
# Random weights put next to nothing on an answer; this much more on digits and the end makes answers common.
DIGIT_BIAS, END_BIAS = 8.0, 10.0


def speak_digits(model: PreTrainedModel) -> PreTrainedModel:
    """Give a random model's output layer a bias towards digits and the end of the answer."""
    head, words = model.get_output_embeddings(), tokenizer()
    bias = torch.zeros(head.weight.shape[0])
    bias[words.convert_tokens_to_ids(list("0123456789"))] = DIGIT_BIAS
    bias[end_token(words)] = END_BIAS
    head.bias = torch.nn.Parameter(bias.to(head.weight), requires_grad=False)
    return model


def scoring(model: PreTrainedModel, scale: str, plan: Plan, rounds: int) -> tuple[float, float, float]:
    """Respondents per second of exact distributions and of the baseline, and their ratio."""
    data = rows(plan.profiles[0], plan.scenarios, plan.respondents, SCALES[scale])
    few = range(plan.few[list(SCALES).index(scale)])
    ours = exact(model, data, SCALES[scale], plan.tokens)
    worst = check_close(ours[few], by_option(model, data, few, plan.batches[0]), OPTIONS, plan.tolerance)
    print(f"{scale}: probabilities equal to {worst:.1e}", flush=True)
    ways = {OURS: clocked(lambda: exact(model, data, SCALES[scale], plan.tokens), model.device)}
    for batch in plan.batches:
        ways[f"{batch} rows"] = clocked(lambda b=batch: by_option(model, data, few, b), model.device)
    seconds = interleaved(ways, rounds)
    each = {way: np.array(of) / (len(data) if way == OURS else len(few)) for way, of in seconds.items()}
    best = min(list(each)[1:], key=lambda way: float(np.median(each[way])))
    return float(1 / np.median(each[OURS])), float(1 / np.median(each[best])), ratio(each, best, OURS)


def exact(model: PreTrainedModel, data: Encoded, notation: str, tokens: int) -> NDArray[np.float64]:
    """Probability of each option and its end, ``[rows, options]``: scenarios once, a trie of the answers."""
    given, allowed = predict_distributions(model, tokenizer(), data, [notation] * len(data), tokens)
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
        (np.concatenate([p, answer]), len(answer)) for p in prompts(data, rows) for answer in data.answers
    ]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i][0]))
    result = np.zeros(len(texts))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        inputs = left_padded([texts[i][0] for i in chosen], model.device)
        width = max(texts[i][1] for i in chosen) + 1
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        out = model(**inputs, position_ids=positions, use_cache=False, logits_to_keep=width)
        steps = torch.log_softmax(out.logits[:, :-1].float(), dim=-1)
        picked = steps.gather(2, inputs["input_ids"][:, -width + 1 :, None])[..., 0].cpu().numpy()
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


def left_padded(texts: Sequence[Ids], device: torch.device) -> BatchEncoding:
    """Token ids and attention mask ``[n, longest]``."""
    return tokenizer().pad({"input_ids": list(texts)}, padding_side="left", return_tensors="pt").to(device)


def check_close(ours: NDArray[np.float64], theirs: NDArray[np.float64], name: str, tolerance: float) -> float:
    """The largest difference of two tables of probabilities, relative to the largest of the row.

    Raises:
        SystemExit: it is above ``tolerance``.
    """
    difference = float((np.abs(ours - theirs) / ours.max(axis=1, keepdims=True)).max())
    if not difference <= tolerance:
        raise SystemExit(f"not reported: {name} differs from the exact distribution by {difference:.2g}")
    return difference


def prediction(plan: Plan, rounds: int) -> list[Line]:
    """Respondents per second of exact distributions, against every option scored and against 20 sampled answers."""
    model, unit = speak_digits(random_model(plan)), "respondents/s"
    lines: list[Line] = []
    for scale in SCALES:
        ours, theirs, times = scoring(model, scale, plan, rounds)
        lines.append(line(f"scoring, {scale}", ours, unit, (OPTIONS, theirs), times))
    sampled = _sampled(model, plan)
    lines.append(line(f"scoring, {scale}", ours, unit, ("20 answers by generate", sampled), ours / sampled))
    return lines


def _sampled(model: PreTrainedModel, plan: Plan) -> float:
    """Respondents per second of 20 answers of three digits each, by transformers' ``generate``."""
    few = range(plan.few[0])
    data, model = rows(plan.profiles[0], 1, len(few), "0..100"), separate_rows(model)
    inputs = left_padded(prompts(data, few), model.device)
    drawn = {"do_sample": True, "num_return_sequences": 20, "min_new_tokens": 3, "max_new_tokens": 3}

    def generate() -> None:
        model.generate(**inputs, pad_token_id=tokenizer().pad_token_id, use_cache=True, **drawn)

    generate()
    return len(few) / clocked(generate, model.device)()
