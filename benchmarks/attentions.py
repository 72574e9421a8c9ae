"""Attention functions that only benchmarks use: padding-free rows, and the packed tree by FlexAttention."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

VARLEN, FLEX = "benchmark_varlen", "benchmark_flex"
_compiled: dict[str, Any] = {}


def varlen(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Flash attention over the rows of TRL's padding-free batches, as shipped with torch.

    Tensors ``[1, heads, T, head size]``, answer ``[1, T, heads, head size]``. On a CPU, which has no such
    kernel, row after row: the same numbers.
    """
    assert cu_seq_lens_q is not None, "only padding-free batches can be read"
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))  # [T, heads, size]
    if q.is_cuda:
        ends = cu_seq_lens_q.to(q.device, torch.int32)
        longest, causal = int(max_length_q), (-1, 0)
        out = varlen_attn(
            q, k, v, ends, ends, longest, longest, scale=scaling, window_size=causal, enable_gqa=True
        )
        return out[None], None
    rows = [
        F.scaled_dot_product_attention(
            *(tensor[a:b].transpose(0, 1) for tensor in (q, k, v)),
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        ).transpose(0, 1)
        for a, b in itertools.pairwise(cu_seq_lens_q.tolist())
    ]
    return torch.cat(rows)[None], None


def flex(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    packing: dict[str, Any] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of ``model.prefix_sharing`` without a trie, by FlexAttention on the packed row itself."""
    assert packing is not None, "only packed batches can be read"
    if "flex" not in packing:
        packing["flex"] = _block_mask(packing, query.shape[2])
    attend: Any = flex_attention
    if query.is_cuda:
        attend = _compiled.setdefault("flex", torch.compile(flex_attention, dynamic=True))
    out = attend(query, key, value, block_mask=packing["flex"], scale=scaling, enable_gqa=True)
    return out.transpose(1, 2), None


def _block_mask(packing: dict[str, Any], length: int) -> BlockMask:
    """A token attends to the tokens before it in its own sequence, and to those of the prefix it continues."""
    prefixes, suffixes = packing["prefix_slots"], packing["suffix_slots"]
    number = torch.arange(len(prefixes) + len(suffixes), device=prefixes.device)
    padded = torch.cat(
        [
            number[: len(prefixes), None].expand_as(prefixes).flatten(),
            number[len(prefixes) :, None].expand_as(suffixes).flatten(),
        ]
    )
    sequence = padded[packing["padded_index"]]  # of each packed token
    prefix = torch.full_like(number, -1)
    prefix[len(prefixes) :] = sequence[packing["key_slots"][:, 0]]

    def mask(batch: Any, head: Any, q: Any, k: Any) -> Any:
        return ((sequence[q] == sequence[k]) & (q >= k)) | (prefix[sequence[q]] == sequence[k])

    return create_block_mask(mask, None, None, length, length, device=prefixes.device)


AttentionInterface.register(VARLEN, varlen)
AttentionInterface.register(FLEX, flex)
