"""Rows that share prefixes in one forward pass: each scenario is computed once for all its respondents.

A batch is one row of T tokens without padding: the distinct prefixes (scenarios), one after another, then
every row's suffix (a respondent's own tokens). Linear layers compute each token once; only attention needs
to know which prefix a suffix continues. It is a function registered with transformers under :data:`NAME`,
so PEFT, gradient checkpointing and DeepSpeed work unchanged, and the gradient of a prefix's keys and values
is the sum over its suffixes.

Attention within a suffix is causal; its last tokens may be the nodes of a trie of answers instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from socrates.model.answer_trie import Trie
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
    logits_to_keep: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """The model inputs of R suffixes on P prefixes.

    Args:
        prefixes: token sequences; one may be empty.
        suffixes: token sequences, none empty.
        prefix_index: the prefix of each suffix, ``[R]``.
        trie: the last tokens of every suffix are its nodes.
        logits_to_keep: packed positions that are projected onto the vocabulary; null: all. Few tokens carry
            loss, and for a small model the vocabulary is the widest layer.

    Returns:
        ``input_ids`` and ``position_ids`` ``[1, T]``, and ``packing``, the tensors that :func:`attention`
        reads. The tokens of suffix r begin at ``suffix_offsets(...)[r]``.
    """
    index = np.asarray(prefix_index, dtype=np.int64)
    prefix_lengths, suffix_lengths = _lengths(prefixes), _lengths(suffixes)
    prefix_slots, prefix_valid = _slots(prefix_lengths, first=0)
    suffix_slots, suffix_valid = _slots(suffix_lengths, first=int(prefix_lengths.sum()))
    positions = _suffix_positions(prefix_lengths[index], suffix_lengths, trie)
    prefix_positions = np.broadcast_to(np.arange(prefix_slots.shape[1]), prefix_slots.shape)
    packing = {
        "prefix_slots": prefix_slots,
        "suffix_slots": suffix_slots,
        "key_slots": np.concatenate([prefix_slots[index], suffix_slots], axis=1),
        "mask": _suffix_mask(prefix_valid[index], suffix_lengths, trie)[:, None],
        # Where each packed token's output lies among the padded outputs, prefixes first.
        "padded_index": np.flatnonzero(np.concatenate([prefix_valid.ravel(), suffix_valid.ravel()])),
    }
    if logits_to_keep is not None:
        packing["logits_to_keep"] = logits_to_keep
    position_ids = np.concatenate([prefix_positions[prefix_valid], positions[suffix_valid]])
    return {
        "input_ids": torch.from_numpy(np.concatenate([*prefixes, *suffixes]).astype(np.int64))[None],
        "position_ids": torch.from_numpy(position_ids)[None],
        "packing": {name: torch.from_numpy(array) for name, array in packing.items()},
    }


def suffix_offsets(prefixes: Sequence[Ids], suffixes: Sequence[Ids]) -> NDArray[np.int64]:
    """Where each suffix begins in the packed row, ``[R]``."""
    lengths = _lengths(suffixes)
    return _lengths(prefixes).sum() + np.cumsum(lengths) - lengths


def _lengths(sequences: Sequence[Ids]) -> NDArray[np.int64]:
    return np.array([len(ids) for ids in sequences], dtype=np.int64)


def _slots(lengths: NDArray[np.int64], first: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Packed positions of padded sequences that lie one after another from ``first``, and which are real.

    Both ``[n, longest]``; padding points at position 0.
    """
    starts = first + np.cumsum(lengths) - lengths
    offsets = np.arange(max(int(lengths.max(initial=0)), 1))[None, :]
    valid = offsets < lengths[:, None]
    return np.where(valid, starts[:, None] + offsets, 0), valid


def _node_columns(lengths: NDArray[np.int64], trie: Trie) -> NDArray[np.int64]:
    """The columns of the trie's N nodes in padded suffixes of these lengths, ``[R, N]``."""
    return lengths[:, None] - trie.nodes + np.arange(trie.nodes)


def _suffix_mask(
    prefix_valid: NDArray[np.bool_], lengths: NDArray[np.int64], trie: Trie | None
) -> NDArray[np.bool_]:
    """Which keys each suffix token attends to: its padded prefix's, then its padded suffix's, ``[R, S, P + S]``.

    Args:
        prefix_valid: the real tokens of each suffix's padded prefix, ``[R, P]``.
    """
    rows, width = len(lengths), int(lengths.max())
    mask = np.broadcast_to(np.tril(np.ones((width, width), dtype=bool)), (rows, width, width))
    if trie is not None:
        mask = mask.copy()
        columns = _node_columns(lengths, trie)
        mask[np.arange(rows)[:, None, None], columns[:, :, None], columns[:, None, :]] = trie.mask
    before = np.broadcast_to(prefix_valid[:, None, :], (rows, width, prefix_valid.shape[1]))
    return np.concatenate([before, mask], axis=2)


def _suffix_positions(
    prefix_lengths: NDArray[np.int64], lengths: NDArray[np.int64], trie: Trie | None
) -> NDArray[np.int64]:
    """Position ids of padded suffixes that each continue a prefix, ``[R, S]``; trie nodes count by depth."""
    positions = prefix_lengths[:, None] + np.arange(lengths.max())
    if trie is not None:
        last = prefix_lengths + lengths - trie.nodes - 1  # before the trie
        positions[np.arange(len(lengths))[:, None], _node_columns(lengths, trie)] = last[:, None] + trie.depth
    return positions


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: dict[str, torch.Tensor] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a packed batch; the signature is that of transformers' attention functions.

    Args:
        query: ``[1, heads, T, head size]``; key and value ``[1, key heads, T, head size]``.
        packing: from :func:`pack`.

    Returns:
        ``[1, T, heads, head size]`` and no weights.
    """
    if packing is None:
        raise ValueError(f"{NAME} attention needs inputs made by pack()")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # [T, heads, size]
    group = q.shape[1] // k.shape[1]

    def attend(
        queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None, causal: bool
    ) -> torch.Tensor:
        """Padded attention: slots ``[n, l]`` and ``[n, m]`` to ``[n * l, heads, size]``."""
        pick_q = _pick(q, queries).transpose(1, 2)
        pick_k, pick_v = (_repeat(_pick(tensor, keys).transpose(1, 2), group) for tensor in (k, v))
        result = F.scaled_dot_product_attention(
            pick_q, pick_k, pick_v, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scaling
        )
        return result.transpose(1, 2).flatten(0, 1)

    prefixes = attend(packing["prefix_slots"], packing["prefix_slots"], None, True)
    suffixes = attend(packing["suffix_slots"], packing["key_slots"], packing["mask"], False)
    return _pick(torch.cat([prefixes, suffixes]), packing["padded_index"])[None], None


def _pick(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``rows[index]``, whose gradient is the same on every run.

    The backward pass of plain indexing adds in the order in which threads happen to arrive; that of
    an embedding is deterministic, and faster.
    """
    return F.embedding(index, rows.flatten(1)).unflatten(-1, rows.shape[1:])


def _repeat(heads: torch.Tensor, times: int) -> torch.Tensor:
    """Each key head once per query head of its group, ``[n, heads, l, size]``."""
    return heads if times == 1 else heads.repeat_interleave(times, dim=1)


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
