"""Rows that share prefixes in one forward pass: each scenario is computed once for all its respondents.

A batch is one row of T tokens without padding: the distinct prefixes (scenarios), one after another, then every row's
suffix (a respondent's own tokens). Linear layers compute each token once; only attention needs to know which prefix a
suffix continues. It is a function registered with transformers, so PEFT, gradient checkpointing and DeepSpeed work
unchanged, and the gradient of a prefix's keys and values is the sum over its suffixes. Attention within a suffix is
causal; its last tokens may be the nodes of a trie of answers instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from socrates.model.answer_trie import Trie
from socrates.model.jagged import Ints
from socrates.model.tokenisation import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "shared_prefixes"
IGNORED = -100  # the label of tokens that carry no loss


def pack(
    prefixes: Sequence[Ids],
    suffixes: Sequence[Ids],
    prefix_index: Sequence[int],
    trie: Trie | None = None,
    logits_to_keep: Ints | None = None,
) -> dict[str, Any]:
    """Model inputs: ``input_ids`` and ``position_ids`` ``[1, T]``, and ``packing``, what :func:`attention` reads.

    Args:
        prefixes: token sequences; one may be empty.
        suffixes: token sequences, none empty.
        prefix_index: the prefix of each suffix, ``[R]``.
        trie: the last tokens of every suffix are its nodes.
        logits_to_keep: packed positions that are projected onto the vocabulary; None: all. Few tokens carry
            loss, and for a small model the vocabulary is the widest layer.
    """
    index = np.asarray(prefix_index, dtype=np.int64)
    prefix_lengths, suffix_lengths = (np.array([*map(len, ids)], np.int64) for ids in (prefixes, suffixes))
    prefix_slots, prefix_valid = _slots(prefix_lengths, 0)
    suffix_slots, suffix_valid = _slots(suffix_lengths, int(prefix_lengths.sum()))
    (rows, width), before = suffix_slots.shape, prefix_slots.shape[1]
    positions = prefix_lengths[index, None] + np.arange(width)
    # The keys of each suffix token: its padded prefix's, then its padded suffix's, [R, S, P + S].
    mask = np.empty((rows, width, before + width), dtype=bool)
    mask[:, :, :before] = prefix_valid[index, None]
    mask[:, :, before:] = np.tri(width, dtype=bool)
    if trie is not None:
        row = np.arange(rows)[:, None]
        nodes = suffix_lengths[:, None] - trie.nodes + np.arange(trie.nodes)  # their columns, [R, N]
        mask[row[:, None], nodes[:, :, None], before + nodes[:, None, :]] = trie.mask
        last = prefix_lengths[index] + suffix_lengths - trie.nodes - 1  # before the trie
        positions[row, nodes] = last[:, None] + trie.depth
    packing = {
        "prefix_slots": prefix_slots,
        "suffix_slots": suffix_slots,
        "key_slots": np.concatenate([prefix_slots[index], suffix_slots], axis=1),
        "mask": mask[:, None],
        # Where each packed token's output lies among the padded outputs, prefixes first.
        "padded_index": np.flatnonzero(np.concatenate([prefix_valid.ravel(), suffix_valid.ravel()])),
    }
    if logits_to_keep is not None:
        packing["logits_to_keep"] = logits_to_keep
    position_ids = np.concatenate([np.nonzero(prefix_valid)[1], positions[suffix_valid]])
    return {
        "input_ids": torch.from_numpy(np.concatenate([*prefixes, *suffixes]).astype(np.int64))[None],
        "position_ids": torch.from_numpy(position_ids)[None],
        "packing": {name: torch.from_numpy(array) for name, array in packing.items()},
    }


def suffix_offsets(prefixes: Sequence[Ids], suffixes: Sequence[Ids]) -> Ints:
    """Where each suffix begins in the packed row, ``[R]``."""
    return np.cumsum([sum(map(len, prefixes)), *map(len, suffixes)])[:-1]


def _slots(lengths: Ints, first: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Packed positions of padded sequences that lie one after another from ``first`` (0 where padding), and which are
    real; both ``[n, longest]``."""
    starts = first + np.cumsum(lengths) - lengths
    offsets = np.arange(max(int(lengths.max(initial=0)), 1))
    valid = offsets < lengths[:, None]
    return np.where(valid, starts[:, None] + offsets, 0), valid


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packing: dict[str, torch.Tensor],
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a batch of :func:`pack`, one of transformers' attention functions: from query ``[1, heads, T, head
    size]``, key and value ``[1, key heads, T, head size]`` to ``[1, T, heads, head size]`` and no weights."""
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # [T, heads, size]

    def heads(rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Padded ``[n, heads, l, size]``; each key head comes once per query head of its group."""
        picked, times = _pick(rows, slots).transpose(1, 2), q.shape[1] // rows.shape[1]
        return picked if times == 1 else picked.repeat_interleave(times, dim=1)

    def attend(slots: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Padded attention: slots ``[n, l]`` and ``[n, m]`` to ``[n * l, heads, size]``; without a mask causal."""
        result = F.scaled_dot_product_attention(
            heads(q, slots), heads(k, keys), heads(v, keys), mask, dropout, mask is None, scale=scaling
        )
        return result.transpose(1, 2).flatten(0, 1)

    prefixes = attend(packing["prefix_slots"], packing["prefix_slots"], None)
    suffixes = attend(packing["suffix_slots"], packing["key_slots"], packing["mask"])
    return _pick(torch.cat([prefixes, suffixes]), packing["padded_index"])[None], None


def _pick(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``rows[index]`` with a gradient that is the same on every run: plain indexing adds it up in the order in which
    threads happen to arrive, an embedding does not, and is faster."""
    return F.embedding(index, rows.flatten(1)).unflatten(-1, rows.shape[1:])


def _keep_positions(_: torch.nn.Module, __: Any, inputs: dict[str, Any], output: Any) -> None:
    """Keep the last hidden states at ``logits_to_keep``: TRL's language head ignores transformers' argument."""
    kept = (inputs.get("packing") or {}).get("logits_to_keep")
    if kept is not None:
        output.last_hidden_state = output.last_hidden_state.index_select(1, kept)


def use_prefix_sharing(model: PreTrainedModel) -> None:
    """Make ``model`` read the batches of :func:`pack` from now on."""
    # cuDNN builds a plan for each new shape, tens of milliseconds of the host's time, and nearly every pass has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)
    model.set_attn_implementation(NAME)
    backbone: Any = model.base_model
    if not hasattr(backbone, "keeps_positions"):
        backbone.register_forward_hook(_keep_positions, with_kwargs=True)
        backbone.keeps_positions = True
