"""One forward pass over a tree of token sequences: scenarios are stems, respondents branches.

All tokens of a batch lie in one packed row ``[1, T]``: first the scenarios, one after another, then
the respondents' own tokens. The model's linear layers see no padding and compute each scenario
once; only attention needs to know the tree. It is an attention function registered with
transformers (``shared_scenario``), so PEFT, gradient checkpointing and DeepSpeed work unchanged, and
the gradient of a scenario's keys and values gathers what all its respondents ask of it.

Within a branch, attention is causal, or follows a given tree (the digits of possible answers).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "shared_scenario"
IGNORED = -100  # the label of tokens that carry no loss
Ids = NDArray[np.int32]


def pack(
    stems: Sequence[Ids],
    branches: Sequence[Ids],
    stem_of_branch: Sequence[int],
    tree: NDArray[np.bool_] | None = None,
    tree_depth: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """The model inputs of a batch of branches on stems.

    Args:
        stems: S token sequences; one may be empty (a branch without a stem).
        branches: R token sequences, none empty.
        stem_of_branch: the stem of each branch, ``[R]``.
        tree: ``[N, N]``; the last N tokens of every branch form a tree, and token i of them sees
            token j of them where ``tree[i, j]`` (itself included). Null: branches are chains.
        tree_depth: ``[N]`` levels below the token before the tree, from 1.

    Returns:
        ``input_ids`` and ``position_ids`` ``[1, T]`` and ``tree``, the tensors that
        :func:`attention` reads. Branch r's tokens are at ``branch_offsets(...)[r]``.
    """
    stem_lengths = np.array([len(stem) for stem in stems], dtype=np.int64)
    branch_lengths = np.array([len(branch) for branch in branches], dtype=np.int64)
    stem_index = np.asarray(stem_of_branch, dtype=np.int64)
    stem_starts = np.concatenate([[0], np.cumsum(stem_lengths)[:-1]])
    total_stem = int(stem_lengths.sum())
    branch_starts = total_stem + np.concatenate([[0], np.cumsum(branch_lengths)[:-1]])

    stem_slots, stem_valid = _slots(stem_starts, stem_lengths)  # [S, P]
    branch_slots, branch_valid = _slots(branch_starts, branch_lengths)  # [R, B]
    width = branch_slots.shape[1]

    own = np.tril(np.ones((width, width), dtype=bool))[None]  # [1 or R, B, B]
    positions = stem_lengths[stem_index][:, None] + np.arange(width)[None, :]
    if tree is not None and tree_depth is not None:
        nodes = len(tree)
        own = np.repeat(own, len(branches), axis=0)
        for row, length in enumerate(branch_lengths):
            first = length - nodes
            own[row, first:length, first:length] = tree
            positions[row, first:length] = stem_lengths[stem_index[row]] + first - 1 + tree_depth
    before = np.broadcast_to(stem_valid[stem_index][:, None, :], (len(branches), width, stem_valid.shape[1]))
    visible = np.concatenate([before, np.broadcast_to(own, (len(branches), width, width))], axis=2)

    # Where each packed token's output lies among the padded outputs, stems first.
    place = np.flatnonzero(np.concatenate([stem_valid.ravel(), branch_valid.ravel()]))
    input_ids = np.concatenate([*stems, *branches]).astype(np.int64)
    stem_positions = np.broadcast_to(np.arange(stem_slots.shape[1]), stem_slots.shape)[stem_valid]
    position_ids = np.concatenate([stem_positions, positions[branch_valid]])
    return {
        "input_ids": torch.from_numpy(input_ids)[None],
        "position_ids": torch.from_numpy(position_ids)[None],
        "tree": {
            "stem_slots": torch.from_numpy(stem_slots),
            "branch_slots": torch.from_numpy(branch_slots),
            "key_slots": torch.from_numpy(np.concatenate([stem_slots[stem_index], branch_slots], axis=1)),
            "visible": torch.from_numpy(visible[:, None]),
            "place": torch.from_numpy(place),
        },
    }


def to_device(inputs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Model inputs, a packed tree's among them, moved to a device."""
    return {
        key: to_device(value, device) if isinstance(value, dict) else value.to(device)
        for key, value in inputs.items()
    }


def branch_offsets(stems: Sequence[Ids], branches: Sequence[Ids]) -> NDArray[np.int64]:
    """Where each branch begins in the packed row, ``[R]``."""
    lengths = np.array([len(branch) for branch in branches], dtype=np.int64)
    return sum(len(stem) for stem in stems) + np.concatenate([[0], np.cumsum(lengths)[:-1]])


def _slots(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Packed positions of padded sequences ``[n, max length]`` and which of them are real."""
    offsets = np.arange(max(int(lengths.max(initial=0)), 1))[None, :]
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
    tree: dict[str, torch.Tensor] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a packed tree; the signature is that of transformers' attention functions.

    Args:
        query: ``[1, heads, T, head size]``; key and value ``[1, key heads, T, head size]``.
        tree: from :func:`pack`.

    Returns:
        ``[1, T, heads, head size]`` and no weights.
    """
    if tree is None:
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

    stems = attend(tree["stem_slots"], tree["stem_slots"], None, True)
    branches = attend(tree["branch_slots"], tree["key_slots"], tree["visible"], False)
    return _pick(torch.cat([stems, branches]), tree["place"])[None], None


def _pick(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``rows[index]``, whose gradient is the same on every run.

    The backward pass of plain indexing adds in the order in which threads happen to arrive; that of
    an embedding is deterministic, and faster.
    """
    return F.embedding(index, rows.flatten(1)).unflatten(-1, rows.shape[1:])


def _repeat(heads: torch.Tensor, times: int) -> torch.Tensor:
    """Each key head once per query head of its group, ``[n, heads, l, size]``."""
    return heads if times == 1 else heads.repeat_interleave(times, dim=1)


def score_only(inputs: dict[str, Any], positions: NDArray[np.int64]) -> None:
    """Let the model project only these packed positions onto the vocabulary, instead of all.

    Few tokens carry loss, and the vocabulary is the widest layer: a model of Qwen's 151,000 tokens
    and hundreds of prompt tokens would spend more on it than on all its other layers.
    """
    inputs["tree"]["scored"] = torch.from_numpy(positions)


def _keep_scored(_: torch.nn.Module, __: Any, inputs: dict[str, Any], output: Any) -> None:
    scored = (inputs.get("tree") or {}).get("scored")
    if scored is not None:
        output.last_hidden_state = output.last_hidden_state.index_select(1, scored)


def use_shared_attention(model: PreTrainedModel) -> None:
    """Make ``model`` read packed trees from now on."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)
    model.set_attn_implementation(NAME)
    backbone = model.base_model
    if _keep_scored not in backbone._forward_hooks.values():
        backbone.register_forward_hook(_keep_scored, with_kwargs=True)


@contextlib.contextmanager
def shared_attention(model: PreTrainedModel) -> Iterator[None]:
    """Make ``model`` read packed trees within the block."""
    before = model.config._attn_implementation
    use_shared_attention(model)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
