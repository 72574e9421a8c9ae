"""The probability of every allowed answer of every respondent, in one pass per scenario.

A packed tree (``model.shared``) holds the scenario once, then for each respondent the persona and
the trie of the possible answers. Each trie node sees scenario, persona and the digits before it, so
one forward pass gives the exact probability of each answer with its end token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from socrates.model.encoding import Encoded, Ids, end_token, stems, token_ids
from socrates.model.shared import branch_offsets, pack, use_shared_attention
from socrates.prediction.trie import Trie, build
from socrates.survey.prompts import answer_part
from socrates.survey.scales import scale

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOGITS_AT_ONCE = 2**26  # float32 logits held at a time (256 MiB)


@dataclass(frozen=True)
class Work:
    """Rows that are computed together: one scale, a few scenarios, one row per distinct prompt."""

    scale: str
    rows: list[int]


def answer_trie(tokenizer: PreTrainedTokenizerBase, notation: str) -> Trie:
    """The trie of the options of a scale, in the order of its options."""
    end = np.int32(end_token(tokenizer))
    options = [answer_part(option) for option in scale(notation).options]
    return build([np.append(ids, end) for ids in token_ids(tokenizer, options)])


def distributions(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Encoded,
    scales: list[str],
    tokens_per_batch: int,
    progress: Callable[[Iterable[Work]], Iterable[Work]] = iter,
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Answer distributions of all rows.

    Args:
        model: base or adapter, in evaluation mode.
        scales: notation of each row's scale.
        tokens_per_batch: packed tokens of one pass; bounds memory. Halved when memory runs out.

    Returns:
        For each row the probabilities of its scale's options, given that the answer is allowed, and
        the total probability of allowed answers ``[rows]``.
    """
    if not hasattr(model, "reads_trees"):
        use_shared_attention(causal_model(model))
    model.eval()
    tries = {notation: answer_trie(tokenizer, notation) for notation in sorted(set(scales))}
    twins = _twins(data, scales)
    first = np.unique(twins)
    probabilities: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(data)
    mass = np.zeros(len(data), dtype=np.float32)
    plan = list(batches(data, scales, tries, first, tokens_per_batch))
    for work in progress(plan):
        for part, log_probability in _halving(model, data, tries[work.scale], work):
            total = np.logaddexp.reduce(log_probability, axis=1)
            given = np.exp(log_probability - total[:, None]).astype(np.float32)
            for row, values, allowed in zip(part.rows, given, np.exp(total), strict=True):
                probabilities[row], mass[row] = values, allowed
    return [probabilities[twin] for twin in twins], mass[twins]


def batches(
    data: Encoded,
    scales: list[str],
    tries: dict[str, Trie],
    rows: NDArray[np.int64],
    tokens_per_batch: int,
) -> Iterator[Work]:
    """Cut rows into batches within the token budget (at least one row each).

    Rows of a scenario stay together; where no scenario is shared, rows of like length do.
    """
    own = np.array([len(data.own(row)) for row in rows])
    order = sorted(
        range(len(rows)),
        key=lambda i: (
            scales[rows[i]],
            data.scenario_of_row[rows[i]] if data.layout == "scenario_first" else own[i],
            rows[i],
        ),
    )
    chosen: list[int] = []
    tokens, stem, notation = 0, -1, ""
    for i in order:
        row = int(rows[i])
        cost = int(own[i]) + tries[scales[row]].nodes
        new_stem = len(data.shared(row)) if data.scenario_of_row[row] != stem else 0
        if chosen and (scales[row] != notation or tokens + cost + new_stem > tokens_per_batch):
            yield Work(notation, chosen)
            chosen, tokens, new_stem = [], 0, len(data.shared(row))
        chosen.append(row)
        tokens += cost + new_stem
        stem, notation = int(data.scenario_of_row[row]), scales[row]
    if chosen:
        yield Work(notation, chosen)


def _twins(data: Encoded, scales: list[str]) -> NDArray[np.int64]:
    """For each row the first row with the same prompt and scale, ``[rows]``."""
    seen: dict[tuple[int, int, str], int] = {}
    return np.array(
        [
            seen.setdefault((int(data.scenario_of_row[row]), int(data.persona_of_row[row]), scales[row]), row)
            for row in range(len(data))
        ],
        dtype=np.int64,
    )


def _halving(
    model: PreTrainedModel | PeftModel, data: Encoded, trie: Trie, work: Work
) -> Iterator[tuple[Work, NDArray[np.float32]]]:
    """Log-probabilities of a batch; a batch too large for the memory is done in halves."""
    try:
        yield work, _log_probabilities(model, data, trie, work.rows)
        return
    except torch.OutOfMemoryError:
        if len(work.rows) == 1:
            raise
        torch.cuda.empty_cache()
    middle = len(work.rows) // 2
    for rows in (work.rows[:middle], work.rows[middle:]):
        yield from _halving(model, data, trie, Work(work.scale, rows))


def causal_model(model: Any) -> Any:
    """The language model itself, with any adapter's layers in it, without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.inference_mode()
def _log_probabilities(model: Any, data: Encoded, trie: Trie, rows: list[int]) -> NDArray[np.float32]:
    """Log-probability of each option, end token included, ``[rows, options]``, in float32."""
    shared, of_branch = stems(data, rows)
    branches: list[Ids] = [np.concatenate([data.own(row), trie.tokens]) for row in rows]
    inputs = to_device(pack(shared, branches, of_branch, trie.sees, trie.depth), model.device)
    ends = branch_offsets(shared, branches) + [len(branch) for branch in branches]
    # Position 0 of a row is its last prompt token, position i + 1 its trie node i.
    kept = ends[:, None] - trie.nodes - 1 + np.arange(trie.nodes + 1)[None, :]
    causal = causal_model(model)
    hidden = causal.base_model(**inputs, use_cache=False).last_hidden_state[0]
    hidden = hidden[torch.from_numpy(kept.ravel()).to(hidden.device)]
    edges = edge_log_probabilities(
        causal.get_output_embeddings(), hidden.view(len(rows), -1, hidden.shape[-1]), trie
    )
    return edges @ trie.on_path.T


def edge_log_probabilities(head: torch.nn.Module, hidden: torch.Tensor, trie: Trie) -> NDArray[np.float32]:
    """Log-probability of each trie edge, ``[rows, E]``, from hidden states ``[rows, N + 1, size]``.

    The normaliser runs over the whole vocabulary; logits are held for a part of the rows at a time.
    """
    parents = torch.from_numpy(trie.edge_parent).to(hidden.device)
    tokens = torch.from_numpy(trie.edge_token).to(hidden.device)
    vocabulary = head.weight.shape[0]  # type: ignore[union-attr, index]
    step = max(LOGITS_AT_ONCE // (hidden.shape[1] * vocabulary), 1)
    parts = []
    for part in hidden.split(step):
        logits = head(part).float()
        normaliser = torch.logsumexp(logits, dim=-1)
        parts.append(logits[:, parents, tokens] - normaliser[:, parents])
    return torch.cat(parts).cpu().numpy()


def to_device(inputs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Nested tensors moved to a device."""
    return {
        key: to_device(value, device) if isinstance(value, dict) else value.to(device)
        for key, value in inputs.items()
    }
