"""The probability of every allowed answer of every respondent, in one pass per scenario.

A packed batch (``model.prefix_sharing``) holds the scenario once, then for each respondent the persona and the trie
of the possible answers. A node of the trie sees scenario, persona and the digits before it, so that one forward pass
gives the exact probability of each answer with its end token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from accelerate.utils import send_to_device
from numpy.typing import NDArray

from socrates.core.errors import ModelError
from socrates.model.answer_trie import Trie, answer_trie
from socrates.model.encoding import Encoded
from socrates.model.jagged import JaggedArray
from socrates.model.prefix_sharing import pack, suffix_offsets, use_prefix_sharing
from socrates.model.tokenisation import Ids

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOGITS_AT_ONCE = 2**26  # float32 logits held at a time (256 MiB)


@dataclass(frozen=True)
class ScoringBatch:
    """Rows that are scored together: one scale, a few scenarios, one row per distinct prompt."""

    scale: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Of rows ``[R]`` the probabilities of their scales' options, if the answer is allowed, and that it is, ``[R]``."""

    rows: NDArray[np.int64]
    probabilities: JaggedArray
    mass: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Iterable[Scored]) -> Scored:
        """The rows of all parts, one part after another."""
        parts = list(parts)
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)]),
            JaggedArray.concatenate([part.probabilities for part in parts], np.float32),
            np.concatenate([np.zeros(0, np.float32), *(part.mass for part in parts)]),
        )


def predict_distributions(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Encoded,
    scales: Sequence[str],
    tokens_per_batch: int,
) -> tuple[JaggedArray, NDArray[np.float32]]:
    """For each row the probabilities of its scale's options, and the total of allowed answers ``[rows]``.

    A pass has ``tokens_per_batch`` packed tokens, which bounds memory; they are halved when memory runs out.
    """
    plan = ScoringPlan(tokenizer, data, scales)
    scored = plan.expand(plan.score(model, batch) for batch in plan.batches(tokens_per_batch))
    return scored.probabilities, scored.mass


class ScoringPlan:
    """Rows whose distributions on ``scales`` (notations) are wanted, and how they are cut into batches.

    Only ``rows`` are scored: the first with each distinct prompt and scale. ``max_tokens_per_batch`` shrinks to what
    did not run out of memory.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, data: Encoded, scales: Sequence[str]) -> None:
        names = pl.Series("scale", scales, dtype=pl.String)
        self.data = data
        self.notations: list[str] = names.unique().sort().to_list()
        self.tries = {notation: answer_trie(tokenizer, notation) for notation in self.notations}
        self.max_tokens_per_batch = sys.maxsize
        self._nodes = np.array([self.tries[notation].nodes for notation in self.notations], dtype=np.int64)
        self._scale = names.cast(pl.Enum(self.notations)).to_physical().cast(pl.Int64).to_numpy()
        self._suffixes, self._prefixes = data.suffix_lengths(), data.prefix_lengths()
        keys = {"scenario": data.scenario_of_row, "persona": data.persona_of_row, "scale": self._scale}
        first = pl.col("row").first().over(*keys)
        self._first = pl.DataFrame(keys).with_row_index("row").select(first.cast(pl.Int64))["row"].to_numpy()
        self.rows = np.unique(self._first)

    def batches(self, tokens_per_batch: int, rows: NDArray[np.int64] | None = None) -> Iterator[ScoringBatch]:
        """``rows``, or all to be scored, in batches of at most so many tokens (at least one row each).

        Rows of a scenario stay together; where no scenario is shared, rows of like length do.
        """
        rows = self.rows if rows is None else rows
        alike = self.data.scenario_of_row if self.data.layout == "scenario_first" else self._suffixes
        rows = rows[np.lexsort((rows, alike[rows], self._scale[rows]))]
        scales, prefix = self._scale[rows], self._prefixes[rows]
        new_prefix = np.diff(self.data.scenario_of_row[rows], prepend=-1) != 0
        # Tokens up to each row and with it; a batch that begins inside a scenario needs its prefix besides.
        upto = np.cumsum(self._suffixes[rows] + self._nodes[scales] + np.where(new_prefix, prefix, 0))
        start = 0
        for scale_end in np.append(np.flatnonzero(np.diff(scales)) + 1, len(rows)):
            while start < scale_end:
                before = (upto[start - 1] if start else 0) - (0 if new_prefix[start] else prefix[start])
                fitting = int(np.searchsorted(upto, tokens_per_batch + before, side="right"))
                end = min(max(fitting, start + 1), int(scale_end))
                yield ScoringBatch(self.notations[scales[start]], rows[start:end])
                start = end

    def tokens(self, batch: ScoringBatch) -> int:
        """Packed tokens of a batch."""
        _, first = np.unique(self.data.scenario_of_row[batch.rows], return_index=True)
        suffixes = self._suffixes[batch.rows].sum() + len(batch.rows) * self.tries[batch.scale].nodes
        return int(suffixes + self._prefixes[batch.rows[first]].sum())

    def score(self, model: PreTrainedModel | PeftModel, batch: ScoringBatch) -> Scored:
        """The distributions of a batch, in one pass or, where memory has run out before, in several."""
        if not hasattr(model, "reads_trees"):
            use_prefix_sharing(causal_model(model))
        model.eval()
        trie, passes, left = self.tries[batch.scale], [], batch.rows
        while len(left):
            part = next(self.batches(self.max_tokens_per_batch, left))
            try:
                passes.append(_log_probabilities(model, self.data, trie, part.rows.tolist()))
                left = left[len(part.rows) :]
                continue
            except torch.OutOfMemoryError:
                pass  # the error holds on to the pass's tensors: they go with it, before the next try
            if len(part.rows) == 1:
                raise ModelError(
                    f"out of memory with one respondent and the {len(trie.paths)} answers of scale "
                    f"{batch.scale}: lower predict.max_options or prompt.max_length, or use a larger GPU"
                )
            self.max_tokens_per_batch = min(self.max_tokens_per_batch, self.tokens(part)) // 2
            torch.cuda.empty_cache()
        log_p = np.concatenate(passes)
        total = np.logaddexp.reduce(log_p, axis=1)
        given = np.exp(log_p - total[:, None]).astype(np.float32)
        offsets = np.arange(len(given) + 1) * given.shape[1]
        return Scored(batch.rows, JaggedArray(given.ravel(), offsets), np.exp(total))

    def expand(self, parts: Iterable[Scored]) -> Scored:
        """The distributions of every row, from those of :attr:`rows`."""
        scored = Scored.joined(parts)
        position = np.zeros(len(self.data), dtype=np.int64)
        position[scored.rows] = np.arange(len(scored.rows))
        index = position[self._first]
        return Scored(np.arange(len(self.data)), scored.probabilities.take(index), scored.mass[index])


def causal_model(model: Any) -> Any:
    """The language model itself, with any adapter's layers in it, without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.inference_mode()
def _log_probabilities(model: Any, data: Encoded, trie: Trie, rows: list[int]) -> NDArray[np.float32]:
    """Log-probability of each option, end token included, ``[rows, options]``, in float32."""
    prefixes, prefix_index = data.distinct_prefixes(rows)
    suffixes: list[Ids] = [np.concatenate([data.suffix_ids(row), trie.tokens]) for row in rows]
    inputs = send_to_device(pack(prefixes, suffixes, prefix_index, trie), model.device)
    ends = suffix_offsets(prefixes, suffixes) + [len(suffix) for suffix in suffixes]
    # Position 0 of a row is its last prompt token, position i + 1 its trie node i.
    kept = ends[:, None] - trie.nodes - 1 + np.arange(trie.nodes + 1)[None, :]
    causal = causal_model(model)
    hidden = causal.base_model(**inputs, use_cache=False).last_hidden_state[0]
    hidden = hidden[torch.from_numpy(kept.ravel()).to(hidden.device)]
    edges = edge_log_probabilities(
        causal.get_output_embeddings(), hidden.view(len(rows), -1, hidden.shape[-1]), trie
    )
    return edges @ trie.paths.T


def edge_log_probabilities(head: Any, hidden: torch.Tensor, trie: Trie) -> NDArray[np.float32]:
    """Log-probability of each trie edge, ``[rows, E]``, from hidden states ``[rows, N + 1, size]``.

    The normaliser runs over the whole vocabulary; logits are held for a part of the rows at a time. Products of
    bfloat16 numbers are summed in float32: rounded back, logits between 16 and 32 would lie on steps of 1/8, and what
    they say of two answers on steps of 13 %.
    """
    parents = torch.from_numpy(trie.edge_parent).to(hidden.device)
    tokens = torch.from_numpy(trie.edge_token).to(hidden.device)
    step = max(LOGITS_AT_ONCE // (hidden.shape[1] * head.weight.shape[0]), 1)
    found = []
    for part in hidden.split(step):
        if part.dtype == torch.float32:
            logits = head(part)
        else:
            rows, weight = part.flatten(0, -2), head.weight.T
            fused = rows.is_cuda  # a CPU has no such kernel
            logits = (
                torch.mm(rows, weight, out_dtype=torch.float32) if fused else rows.float() @ weight.float()
            )
            logits = (logits if head.bias is None else logits + head.bias).unflatten(0, part.shape[:-1])
        found.append(logits[:, parents, tokens] - torch.logsumexp(logits, dim=-1)[:, parents])
    return torch.cat(found).cpu().numpy()
