"""The trie of the tokens that spell every allowed answer, end token included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from socrates.model.tokenisation import Ids, end_token, token_ids
from socrates.survey.prompts import answer_part
from socrates.survey.scales import scale

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Trie:
    """A token trie of N nodes and E edges; the end token is an edge that leads to no node.

    The tokens "1", "0", "0" of 100 pass the nodes of 1 and 10, where those answers end: that is how
    1, 10 and 100 are told apart.

    Attributes:
        tokens: the token of each node, ``[N]``; parents stand before children.
        depth: levels below the prompt, from 1, ``[N]``.
        mask: attention mask ``[N, N]``: a node attends to itself and to the nodes above it.
        edge_parent: where the token of an edge is predicted, ``[E]``: 0 is the prompt's last token,
            i + 1 is node i.
        edge_token: ``[E]``.
        paths: which edges spell each option, ``[options, E]``.
    """

    tokens: Ids
    depth: NDArray[np.int64]
    mask: NDArray[np.bool_]
    edge_parent: NDArray[np.int64]
    edge_token: NDArray[np.int64]
    paths: NDArray[np.float32]

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.tokens)


def answer_trie(tokenizer: PreTrainedTokenizerBase, notation: str) -> Trie:
    """The trie of the options of a scale, in the order of its options."""
    return build_trie(option_ids(tokenizer, notation))


def option_ids(tokenizer: PreTrainedTokenizerBase, notation: str) -> list[Ids]:
    """Token ids of each option of a scale, the end token included."""
    end = np.int32(end_token(tokenizer))
    options = [answer_part(option) for option in scale(notation).options]
    return [np.append(ids, end) for ids in token_ids(tokenizer, options)]


def build_trie(answers: Sequence[Ids]) -> Trie:
    """The trie of token sequences, each ending in the end token and none a prefix of another."""
    node_at: dict[tuple[int, ...], int] = {(): -1}  # prefix of an answer -> its node; -1 is the prompt
    edges: dict[tuple[int, int], int] = {}  # (node, token that follows it) -> edge
    tokens: list[int] = []
    parents: list[int] = []
    edges_of_answer: list[list[int]] = []
    for answer in answers:
        *ids, end = map(int, answer)
        node, path = -1, []
        for length, token in enumerate(ids, 1):
            path.append(edges.setdefault((node, token), len(edges)))
            prefix = tuple(ids[:length])
            if prefix not in node_at:
                node_at[prefix] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = node_at[prefix]
        edges_of_answer.append([*path, edges.setdefault((node, end), len(edges))])
    mask, depth = _ancestors(parents)
    paths = np.zeros((len(answers), len(edges)), dtype=np.float32)
    for option, path in enumerate(edges_of_answer):
        paths[option, path] = 1
    return Trie(
        np.array(tokens, dtype=np.int32),
        depth,
        mask,
        np.array([node + 1 for node, _ in edges], dtype=np.int64),
        np.array([token for _, token in edges], dtype=np.int64),
        paths,
    )


def _ancestors(parents: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """``mask`` and ``depth`` of a :class:`Trie` from each node's parent, -1 where that is the prompt."""
    mask = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            mask[node] |= mask[parent]
    return mask, mask.sum(axis=1)
